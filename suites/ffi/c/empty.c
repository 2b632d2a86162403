/* A shared object that does not implement the ABI. */
int nothing(void);
int nothing(void) { return 0; }
