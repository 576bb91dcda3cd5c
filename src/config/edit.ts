/** `config set` and `config unset` as functions from text to text: what is not meant stays, character by character. */
import { json5 } from "./json5.ts";
import { OpenClawError } from "../errors.ts";
import { parseConfig } from "./file.ts";
import { layoutOf, type Member, type ObjectLayout, skipBlank, skipRestOfLine } from "./layout.ts";
import { parseTyped } from "./read-settings.ts";

/** Replaces the text from offset `start` up to `end`. */
interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** How this file is written, for what we add to it. */
interface Style {
  readonly newline: string;
  readonly unit: string;
  /** Every key in quotes: then the file is JSON with comments, and stays that. */
  readonly json: boolean;
}

/**
 * The text with `key` set to what a person typed: JSON5 where that is of the key's type, else the text itself. Fails with `usage`
 * (unknown key, wrong type) or `config-invalid` (the file cannot be read, or has no place for the key). `path` is for messages.
 */
export function setKey(text: string, key: string, typed: string, path = "the configuration"): string {
  const value = parseTyped(key, typed);
  parseConfig(text, path);
  const source = text.replace(/^\uFEFF/, "").trim() === "" ? "{}\n" : text;
  const root = layoutOf(source);
  return apply(source, place(source, root, key.split("."), value, { style: styleOf(source, root), path, key }));
}

/** The text without `key`, whether it is known or not; a key that is not there leaves the text as it is. */
export function unsetKey(text: string, key: string, path = "the configuration"): string {
  parseConfig(text, path);
  if (text.replace(/^\uFEFF/, "").trim() === "") return text;
  const found = find(layoutOf(text), key.split("."));
  // A key written twice is in force until both are gone.
  return found === undefined ? text : unsetKey(apply(text, removal(text, ...found)), key, path);
}

interface Placing {
  readonly style: Style;
  readonly path: string;
  readonly key: string;
}

function place(
  text: string,
  object: ObjectLayout,
  words: readonly string[],
  value: unknown,
  placing: Placing,
): readonly Splice[] {
  const [word = "", ...rest] = words;
  // Of a key written twice the last one counts.
  const member = object.members.findLast((candidate) => candidate.key === word);
  if (member === undefined) return addition(text, object, word, nest(rest, value), placing.style);
  if (rest.length === 0) {
    const indent = isOneLine(text, object) ? undefined : indentOf(text, member.start);
    return [{ start: member.valueStart, end: member.end, text: render(value, indent, placing.style) }];
  }
  if (member.object !== undefined) return place(text, member.object, rest, value, placing);
  const group = placing.key.slice(0, -rest.join(".").length - 1);
  throw new OpenClawError(
    "config-invalid",
    `${group} in ${placing.path} is not an object, so ${placing.key} has no place`,
    {
      hint: `remove it first: openclaw config unset ${group}`,
      fix: `openclaw config unset ${group}`,
    },
  );
}

function addition(text: string, object: ObjectLayout, key: string, value: unknown, style: Style): readonly Splice[] {
  const last = object.members.at(-1);
  if (last === undefined) return [firstMember(text, object, key, value, style)];
  const name = style.json ? JSON.stringify(key) : nameOf(key);
  const behindLast = last.comma === undefined ? last.end : last.comma + 1;
  const commaAfterLast = last.comma === undefined ? [{ start: last.end, end: last.end, text: "," }] : [];
  const ownComma = last.comma === undefined ? "" : ",";
  if (isOneLine(text, object)) {
    const member = ` ${name}: ${render(value, undefined, style)}${ownComma}`;
    return [...commaAfterLast, { start: behindLast, end: behindLast, text: member }];
  }
  const indent = indentOf(text, last.start);
  // What stands behind the last member on its line belongs to it.
  const at = skipRestOfLine(text, behindLast);
  const closes = text[at] === "}" ? `${style.newline}${indentOf(text, object.start)}` : "";
  const member = `${style.newline}${indent}${name}: ${render(value, indent, style)}${ownComma}${closes}`;
  return [...commaAfterLast, { start: at, end: at, text: member }];
}

/** Opens up an object without members; comments in it stay before the new one. */
function firstMember(text: string, object: ObjectLayout, key: string, value: unknown, style: Style): Splice {
  const within = text.slice(object.start + 1, object.close).trimEnd();
  const outer = indentOf(text, object.start);
  const indent = outer + style.unit;
  const name = style.json ? JSON.stringify(key) : nameOf(key);
  const member = `${style.newline}${indent}${name}: ${render(value, indent, style)}${style.json ? "" : ","}`;
  return { start: object.start + 1 + within.length, end: object.close, text: `${member}${style.newline}${outer}` };
}

function removal(text: string, object: ObjectLayout, member: Member): readonly Splice[] {
  const index = object.members.indexOf(member);
  const previous = object.members[index - 1];
  const behind = member.comma === undefined ? member.end : member.comma + 1;
  // The member before the last one keeps its comma only if the last one had one.
  const orphan = member.comma === undefined ? previous?.comma : undefined;
  const comma = orphan === undefined ? [] : [{ start: orphan, end: orphan + 1, text: "" }];
  return [...comma, lineOf(text, member, behind) ?? within(text, member, behind)];
}

/** The whole line, with the comment behind it, when the member has its lines to itself. */
function lineOf(text: string, member: Member, behind: number): Splice | undefined {
  const lineStart = lineStartOf(text, member.start);
  const rest = skipRestOfLine(text, behind);
  const newline = /\r\n|\n|\r/y;
  newline.lastIndex = rest;
  const found = newline.exec(text);
  if (found === null || text.slice(lineStart, member.start).trim() !== "") return undefined;
  return { start: lineStart, end: rest + found[0].length, text: "" };
}

/** The member and the blanks on one side of it, among others on its line. */
function within(text: string, member: Member, behind: number): Splice {
  const blanksAfter = text.slice(behind, skipBlank(text, behind)).match(/^[^\S\n\r]*/)?.[0].length ?? 0;
  if (member.comma !== undefined) return { start: member.start, end: behind + blanksAfter, text: "" };
  const blanksBefore = text.slice(0, member.start).match(/[^\S\n\r]*$/)?.[0].length ?? 0;
  return { start: member.start - blanksBefore, end: behind, text: "" };
}

/** The object and member that `words` lead to. Of a key written twice, the last one. */
function find(
  object: ObjectLayout,
  words: readonly string[],
): readonly [object: ObjectLayout, member: Member] | undefined {
  const [word, ...rest] = words;
  const member = object.members.findLast((candidate) => candidate.key === word);
  if (member === undefined || rest.length === 0) return member && [object, member];
  return member.object && find(member.object, rest);
}

/** Splices are in the order of the text and do not overlap; from the last to the first, their offsets stay true. */
function apply(text: string, splices: readonly Splice[]): string {
  return splices.reduceRight(
    (current, { start, end, text: piece }) => current.slice(0, start) + piece + current.slice(end),
    text,
  );
}

function render(value: unknown, indent: string | undefined, { json, unit, newline }: Style): string {
  const space = indent === undefined ? undefined : unit;
  const text = json
    ? JSON.stringify(value, null, space)
    : json5().stringify(value, { quote: '"', space: space ?? null });
  // Line breaks within values are escaped, so these are all between them.
  return text.replaceAll("\n", `${newline}${indent ?? ""}`);
}

function nest(words: readonly string[], value: unknown): unknown {
  return words.reduceRight<unknown>((inner, word) => ({ [word]: inner }), value);
}

function nameOf(key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key);
}

function styleOf(text: string, root: ObjectLayout): Style {
  const [first] = root.members;
  const indent = first === undefined || isOneLine(text, root) ? "" : indentOf(text, first.start);
  const outer = indentOf(text, root.start);
  return {
    newline: text.includes("\r\n") ? "\r\n" : "\n",
    unit: indent.length > outer.length && indent.startsWith(outer) ? indent.slice(outer.length) : "  ",
    json: root.members.length > 0 && root.members.every((member) => member.quoted),
  };
}

function isOneLine(text: string, object: ObjectLayout): boolean {
  const [first] = object.members;
  return first !== undefined && !/[\n\r]/.test(text.slice(object.start, first.start));
}

/** The blanks at the beginning of the line that holds this offset. */
function indentOf(text: string, offset: number): string {
  return /^[\t ]*/.exec(text.slice(lineStartOf(text, offset), offset))?.[0] ?? "";
}

function lineStartOf(text: string, offset: number): number {
  return Math.max(text.lastIndexOf("\n", offset - 1), text.lastIndexOf("\r", offset - 1)) + 1;
}
