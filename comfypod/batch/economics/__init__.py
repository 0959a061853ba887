"""What work costs on machines that are rented, and which of them to take. Pure but for reading a study's file."""
