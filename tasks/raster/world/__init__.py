"""A procedural world seen from the air: towns, streets, fields and a river, with their exact truth, of any size."""
