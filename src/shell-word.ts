/** A text as one word of a POSIX shell command line, for commands that are printed to be pasted. */

/** Quotes only what has to be, in single quotes (POSIX.1-2024, Shell Command Language § 2.2.2). */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/u.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
