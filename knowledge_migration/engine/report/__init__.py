"""The migration report: one HTML file with everything that a change request asks for, each figure read from the evidence."""
