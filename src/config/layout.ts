/**
 * Where things stand in a JSON5 text, so that one value can be changed and every other character stays. It is asked only about
 * texts that json5 has read, and so looks for the few characters that matter instead of checking the grammar again.
 */
import { json5 } from "./json5.ts";

export interface Member {
  readonly key: string;
  /** Offset of the key's first character. */
  readonly start: number;
  readonly valueStart: number;
  /** Offset behind the value's last character. */
  readonly end: number;
  /** Offset of the comma behind the value, where there is one. */
  readonly comma: number | undefined;
  /** The value's own layout, when it is an object. */
  readonly object: ObjectLayout | undefined;
  readonly quoted: boolean;
}

export interface ObjectLayout {
  /** Offset of the opening brace. */
  readonly start: number;
  /** Offset of the closing brace. */
  readonly close: number;
  readonly members: readonly Member[];
}

const blank = /(?:\s|\/\/[^\n\r\u2028\u2029]*|\/\*[^]*?\*\/)*/y;
const stringOrWord = /"(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'|[^\s,:[\]{}"'/]+/y;
const restOfLine = /(?:[^\S\n\r]|\/\/[^\n\r]*|\/\*[^\n\r]*?\*\/)*/y;

/** The layout of a text that holds an object. */
export function layoutOf(text: string): ObjectLayout {
  return objectAt(text, skip(blank, text, 0));
}

/** Offset behind the blanks and comments that follow `from` on its line. */
export function skipRestOfLine(text: string, from: number): number {
  return skip(restOfLine, text, from);
}

/** Offset of the next character that is neither blank nor part of a comment. */
export function skipBlank(text: string, from: number): number {
  return skip(blank, text, from);
}

function objectAt(text: string, start: number): ObjectLayout {
  const members: Member[] = [];
  let at = skip(blank, text, start + 1);
  while (text[at] !== "}") {
    const member = memberAt(text, at);
    members.push(member);
    at = skip(blank, text, member.comma === undefined ? member.end : member.comma + 1);
  }
  return { start, close: at, members };
}

function memberAt(text: string, start: number): Member {
  const keyEnd = skip(stringOrWord, text, start);
  const keyText = text.slice(start, keyEnd);
  const valueStart = skip(blank, text, skip(blank, text, keyEnd) + 1);
  const object = text[valueStart] === "{" ? objectAt(text, valueStart) : undefined;
  const end = object === undefined ? valueEnd(text, valueStart) : object.close + 1;
  const next = skip(blank, text, end);
  return {
    key: Object.keys(json5().parse<object>(`{${keyText}:0}`))[0] ?? "",
    start,
    valueStart,
    end,
    comma: text[next] === "," ? next : undefined,
    object,
    quoted: /^["']/.test(keyText),
  };
}

function valueEnd(text: string, start: number): number {
  if (text[start] === "{") return objectAt(text, start).close + 1;
  if (text[start] !== "[") return skip(stringOrWord, text, start);
  let at = skip(blank, text, start + 1);
  while (text[at] !== "]") {
    at = skip(blank, text, valueEnd(text, at));
    if (text[at] === ",") at = skip(blank, text, at + 1);
  }
  return at + 1;
}

/** Offset behind what the sticky expression matches at `from`. */
function skip(expression: RegExp, text: string, from: number): number {
  expression.lastIndex = from;
  const found = expression.exec(text)?.[0] ?? "";
  // Every caller stands before something to skip or before an end; standing still would be for ever.
  if (found === "" && from >= text.length) throw new RangeError("the text ends within an object");
  return from + found.length;
}
