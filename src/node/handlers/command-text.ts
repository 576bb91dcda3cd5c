/** A command as one line, for people and for the wire's text fields. Nobody parses it back. */

/** Characters of a command in an event. */
const maxEventCommandChars = 4_000;

/** Words joined by spaces; a word that is empty or has blanks or quotes stands in double quotes, as the product writes it. */
export function commandText(argv: readonly string[]): string {
  return argv.map((word) => (/^[^\s"]+$/u.test(word) ? word : `"${word.replaceAll('"', String.raw`\"`)}"`)).join(" ");
}

/** The same, cut to a length that fits an event. */
export function shortCommandText(argv: readonly string[]): string {
  return commandText(argv).slice(0, maxEventCommandChars);
}
