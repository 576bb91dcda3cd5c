/** The lines of an ssh_config file (ssh_config(5)): keywords and words, before anybody asks what they mean. */
import { OpenClawError } from "../errors.ts";

/** One file, with the files it includes in their places. */
export interface ConfigFile {
  readonly path: string;
  readonly lines: readonly ConfigLine[];
}

export interface ConfigLine {
  /** `path:line`, for messages. */
  readonly at: string;
  /** In lower case. */
  readonly keyword: string;
  /** What stands behind the keyword, as it is written. */
  readonly rest: string;
  /** The words of `rest`, without quotes, escapes and comment. */
  readonly words: readonly string[];
  /** For `Include`: the files it names, read. */
  readonly included?: readonly ConfigFile[];
}

/** Reads the text of one file. Throws `usage` with file and line for a keyword without an argument and for open quotes. */
export function parseConfig(text: string, path: string): ConfigLine[] {
  return text.split("\n").flatMap((raw, index) => {
    const line = raw.replace(/[ \t\r\f]+$/, "");
    // The keyword ends at a blank or at one "=", which may have blanks on both sides.
    const match = /^[ \t]*(?:"(?<quoted>[^"]*)"|(?<plain>[^ \t="]+))(?:[ \t]*=[ \t]*|[ \t]*)(?<rest>.*)$/.exec(line);
    const { quoted, plain, rest = "" } = match?.groups ?? {};
    const keyword = (quoted ?? plain ?? "").toLowerCase();
    if (line.trim() === "" || keyword.startsWith("#")) return [];
    const at = `${path}:${index + 1}`;
    if (keyword === "") throw configError(at, "the line begins with no keyword");
    if (rest === "") throw configError(at, `${keyword} has no argument`);
    return [{ at, keyword, rest, words: splitWords(rest, at) }];
  });
}

/** `usage`, with the place it is about in front. */
export function configError(at: string, problem: string, hint?: string): OpenClawError {
  return new OpenClawError("usage", `${at}: ${problem}`, { hint });
}

/** Words between blanks; quotes of both kinds, a backslash before a quote, a backslash or a blank, and `#` at the start of a word. */
function splitWords(text: string, at: string): string[] {
  const words: string[] = [];
  let index = 0;
  for (;;) {
    while (isBlank(text[index])) index++;
    if (index >= text.length || text[index] === "#") return words;
    let word = "";
    let quote = "";
    for (; index < text.length; index++) {
      const [character = "", next = ""] = [text[index], text[index + 1]];
      if (character === "\\" && isEscapable(next, quote)) word += text[++index];
      else if (quote === "" && isBlank(character)) break;
      else if (quote === "" && (character === '"' || character === "'")) quote = character;
      else if (character === quote) quote = "";
      else word += character;
    }
    if (quote !== "") throw configError(at, "a quote is not closed");
    words.push(word);
  }
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}

function isEscapable(character: string, quote: string): boolean {
  return character === "'" || character === '"' || character === "\\" || (quote === "" && character === " ");
}
