"""The fleet: machines that a master makes and deletes as its work comes and goes."""
