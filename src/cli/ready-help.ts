/** Help texts that the build has laid out already: a package prints them without loading a single command. A checkout has none. */
import { readFileSync } from "node:fs";

/** The text that answers this command line, when it is nothing but the words of a command and a request for help. */
export function readyHelp(
  argv: readonly string[],
  directory = new URL("./help/", import.meta.url),
): string | undefined {
  const words = argv.slice(0, -1);
  const asks = argv.at(-1) === "--help" || argv.at(-1) === "-h";
  if (!asks || !words.every((word) => /^[a-z]+(?:-[a-z]+)*$/u.test(word))) return undefined;
  try {
    return readFileSync(new URL(helpFile(words), directory), "utf8");
  } catch {
    return undefined; // no such command, or a checkout: the command tree answers
  }
}

/** The file that holds the help of a command: `openclaw.txt`, `devices-rotate.txt`. */
export function helpFile(words: readonly string[]): string {
  return `${words.length === 0 ? "openclaw" : words.join("-")}.txt`;
}
