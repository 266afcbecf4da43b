//! Files through the program: every format gives the same run, and what is missing, empty, damaged or of another kind is
//! refused with its place, a remedy and exit code 2.
