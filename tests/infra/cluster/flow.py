"""A flow of its own process: it opens processes, says which, and runs jobs that take longer than the test."""

import os
import sys

from cluster_jobs import hold_the_lock, tiles

from infra.cluster import Job, open_cluster


def main():
    """Say the workers' process ids, then work until killed or interrupted."""
    call = {"tiles": tiles, "hold": hold_the_lock}[sys.argv[1]]
    with open_cluster("processes", workers=2) as cluster:
        sys.stdout.write(" ".join(map(str, cluster.everywhere(os.getpid))) + "\n")
        sys.stdout.flush()
        cluster.run([Job(f"{n}", call, (sys.argv[2], n)) for n in range(4)], done=lambda *_: None)


if __name__ == "__main__":
    main()
