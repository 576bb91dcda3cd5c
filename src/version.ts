/** The toolkit's version, as package.json has it (held equal by test/drift.test.ts): a constant starts faster than a file. */
export const version = "0.1.0";
