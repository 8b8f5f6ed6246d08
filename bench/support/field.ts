/** A field that a database encrypts. */
export const fieldBytes = 1024;
