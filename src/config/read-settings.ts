/** Unknown values against the table of settings, and the table as plain facts. */
import { json5 } from "./json5.ts";
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import { editDistance } from "./nearest.ts";
import type { Kind, SettingNotes } from "./setting-kinds.ts";
import { isSettingKey, type SettingKey, type Settings, type SettingValues, settingKeys, settings } from "./settings.ts";

/** What is wrong with a key. The message has no value in it. */
export interface SettingProblem {
  readonly key: string;
  readonly message: string;
}

export interface SettingFacts {
  readonly type: string;
  readonly about: string;
  readonly secret: boolean;
  readonly env?: string;
  readonly fallback?: unknown;
}

/** A key's line of the table, as plain facts. */
export function factsOf(key: SettingKey): SettingFacts {
  const row: Kind<v.GenericSchema> & { readonly about: string } & SettingNotes<unknown> = settings[key];
  const { type, about, env, fallback } = row;
  return {
    type,
    about,
    secret: row.secret === true,
    ...(env === undefined ? {} : { env }),
    ...(fallback === undefined ? {} : { fallback }),
  };
}

/** Checks unknown values by key. What is right comes back typed, what is wrong as problems; nothing is thrown. */
export function readSettings(found: Iterable<readonly [key: SettingKey, value: unknown]>): {
  readonly values: SettingValues;
  readonly problems: readonly SettingProblem[];
} {
  const values: Record<string, unknown> = {};
  const problems: SettingProblem[] = [];
  for (const [key, value] of found) {
    const schema: v.GenericSchema = settings[key].schema;
    const read = v.safeParse(schema, value);
    if (read.success) values[key] = read.output;
    else problems.push(...read.issues.map((issue) => ({ key: pathOf(key, issue), message: issue.message })));
  }
  return { values, problems };
}

/**
 * The value a person typed for `key`: read as JSON5 when that gives a value of the key's type, else the text itself. It is the
 * value as it stands in a file. `usage` for an unknown key, and for a value of another type, which is not repeated.
 */
export function parseTyped(key: string, typed: string, what = key): unknown {
  if (!isSettingKey(key)) throw unknownKey(key);
  const { problems } = readSettings([[key, typed]]);
  const parsed = parsedOrUndefined(typed);
  if (parsed !== undefined && readSettings([[key, parsed]]).problems.length === 0) return parsed;
  if (problems.length === 0) return typed;
  const [problem] = parsed === undefined ? problems : readSettings([[key, parsed]]).problems;
  throw new OpenClawError("usage", `${what} ${problem?.message ?? "has another type"}`, {
    hint: `${key}: ${settings[key].type}`,
  });
}

/** The defaults of all keys that have one. */
export function defaultSettings(): SettingValues {
  return readSettings(
    settingKeys.flatMap((key) => {
      const { fallback } = factsOf(key);
      return fallback === undefined ? [] : [[key, fallback] as const];
    }),
  ).values;
}

/** What all sources say together, the strongest first; the defaults, last, have every key that `Settings` promises. */
export function mergeSettings(sources: readonly SettingValues[]): Settings {
  return Object.freeze(Object.assign({}, ...sources.toReversed()));
}

/** The nearest known key or group of keys. The last word counts most: that is where people remember best and mistype most. */
export function nearestKey(unknown: string): string {
  let best = { key: "", score: Number.POSITIVE_INFINITY };
  for (const key of keysAndGroups()) {
    const score = keyDistance(unknown, key);
    if (score < best.score) best = { key, score };
  }
  return best.key;
}

/** `usage` for a key that is not in the table. */
export function unknownKey(key: string): OpenClawError {
  return new OpenClawError("usage", `there is no setting ${key}`, {
    hint: `did you mean ${nearestKey(key)}? openclaw config list shows all`,
    fix: "openclaw config list",
  });
}

/** True when known keys begin with this one: `gateway.auth`. */
export function isGroup(key: string): boolean {
  return settingKeys.some((known) => known.startsWith(`${key}.`));
}

function parsedOrUndefined(text: string): unknown {
  try {
    return json5().parse<unknown>(text);
  } catch {
    return undefined;
  }
}

function keysAndGroups(): Set<string> {
  const groups = settingKeys.flatMap((key) => {
    const words = key.split(".");
    return words.slice(1).map((_, index) => words.slice(0, index + 1).join("."));
  });
  return new Set([...settingKeys, ...groups]);
}

function keyDistance(unknown: string, known: string): number {
  const [group, word] = splitLast(unknown);
  const [knownGroup, knownWord] = splitLast(known);
  return wordDistance(word, knownWord) * 3 + Math.min(4, editDistance(group, knownGroup));
}

/** `name` is close to `displayName`, although seven letters are missing. */
function wordDistance(word: string, known: string): number {
  if (word !== known && word.length > 2 && known.toLowerCase().includes(word.toLowerCase())) return 1;
  return editDistance(word, known);
}

function splitLast(key: string): [group: string, word: string] {
  const dot = key.lastIndexOf(".");
  return [key.slice(0, Math.max(0, dot)), key.slice(dot + 1)];
}

function pathOf(key: string, issue: v.BaseIssue<unknown>): string {
  const within = v.getDotPath(issue);
  return within === null ? key : `${key}.${within}`;
}
