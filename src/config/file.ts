/** Configuration files: ours, in which every key must be known, and the product's, of which we take the `gateway.*` keys. */
import { readFile } from "node:fs/promises";
import { json5 } from "./json5.ts";
import { OpenClawError, systemCode } from "../errors.ts";
import type { Environment } from "./environment.ts";
import { layoutOf } from "./layout.ts";
import { isGroup, nearestKey, readSettings, type SettingProblem } from "./read-settings.ts";
import { resolveReferences } from "./references.ts";
import { isSettingKey, type SettingKey, type SettingValues } from "./settings.ts";

/** Whose file it is decides what an unknown key means and whether values may refer to others. */
export type Dialect = "toolkit" | "product";

export interface ConfigFile {
  readonly path: string;
  readonly dialect: Dialect;
  readonly values: SettingValues;
  readonly problems: readonly SettingProblem[];
  /** Keys that are set, to something we cannot get at. */
  readonly unavailable: readonly SettingProblem[];
  /** The line, from 1, on which this key stands, or what it is a part of. */
  readonly lineOf: (key: string) => number | undefined;
}

export interface FileChoices {
  readonly path: string;
  readonly dialect: Dialect;
  readonly env: Environment;
}

/** Reads a file; one that is not there says nothing. `state-unreadable` when the system refuses, else as `readConfigText`. */
export async function readConfigFile(choices: FileChoices): Promise<ConfigFile> {
  return readConfigText(await textOf(choices.path), choices);
}

/** Reads a file's text. All that is wrong with its keys comes back in `problems`; text that is no JSON5 is `config-invalid`. */
export function readConfigText(text: string, { path, dialect, env }: FileChoices): ConfigFile {
  const found: [SettingKey, unknown][] = [];
  const problems: SettingProblem[] = [];
  const unavailable: SettingProblem[] = [];
  for (const [key, value] of entriesOf(parseConfig(text, path), dialect, problems)) {
    const resolved = dialect === "product" ? resolveReferences(value, env) : { value };
    if ("unavailable" in resolved) unavailable.push({ key, message: resolved.unavailable });
    else found.push([key, resolved.value]);
  }
  const read = readSettings(found);
  const lineOf = (key: string) => lineIn(text, key);
  return { path, dialect, values: read.values, problems: [...problems, ...read.problems], unavailable, lineOf };
}

/** One `config-invalid` that names every file with problems and every problem; nothing when there is none. */
export function assertNoProblems(files: readonly ConfigFile[]): void {
  const wrong = files.filter((file) => file.problems.length > 0);
  if (wrong.length === 0) return;
  const problems = wrong.flatMap(({ path: file, problems: all, lineOf }) =>
    all.map((problem) => ({ file, line: lineOf(problem.key), ...problem })),
  );
  const told = problems.map(({ file, line, key, message }) => `${file}${numbered(line)}: ${key} ${message}`);
  throw new OpenClawError("config-invalid", `the configuration has errors: ${told.join("; ")}`, {
    hint: "correct the file, or use openclaw config set and unset",
    fix: "openclaw config validate",
    details: { problems },
  });
}

const numbered = (line: number | undefined) => (line === undefined ? "" : `:${line}`);

/** Looked up in a text that json5 has read, and only when somebody is told of a problem there. */
function lineIn(text: string, key: string): number | undefined {
  let members = layoutOf(text).members;
  let found: number | undefined;
  for (let rest = key; rest !== "";) {
    const member = members.find((one) => rest === one.key || rest.startsWith(`${one.key}.`));
    if (member === undefined) return found;
    found = text.slice(0, member.start).split("\n").length;
    members = member.object?.members ?? [];
    rest = rest.slice(member.key.length + 1);
  }
  return found;
}

/** The object a file's text stands for; blank text stands for an empty one. Anything else is `config-invalid`, with its place. */
export function parseConfig(text: string, path: string): object {
  if (text.replace(/^\uFEFF/, "").trim() === "") return {};
  const root = parseJson5(text, path);
  if (isObject(root)) return root;
  throw new OpenClawError("config-invalid", `${path} does not hold an object`, {
    hint: "it must look like { key: value }",
  });
}

function parseJson5(text: string, path: string): unknown {
  try {
    return json5().parse(text);
  } catch (cause) {
    throw new OpenClawError("config-invalid", `${path}${placeOf(cause)} is not JSON5`, {
      hint: "correct the line, or restore the file from a backup",
      fix: "openclaw config validate",
      details: { path },
      cause,
    });
  }
}

/** json5 keeps the place apart from its message, which may repeat a part of the text. */
function placeOf(error: unknown): string {
  if (!(error instanceof SyntaxError) || !("lineNumber" in error) || !("columnNumber" in error)) return "";
  return `:${String(error.lineNumber)}:${String(error.columnNumber)}`;
}

/** Every known key that is set, with its value. What else there is becomes a problem, in the file where that is our business. */
function* entriesOf(
  root: object,
  dialect: Dialect,
  problems: SettingProblem[],
  group = "",
): Generator<readonly [SettingKey, unknown]> {
  for (const [word, value] of Object.entries(root)) {
    const key = group === "" ? word : `${group}.${word}`;
    if (dialect === "product" && !`${key}.`.startsWith("gateway.")) continue;
    if (isSettingKey(key)) yield [key, value];
    else if (isGroup(key) && isObject(value)) yield* entriesOf(value, dialect, problems, key);
    else if (isGroup(key)) problems.push({ key, message: "must be an object" });
    else if (dialect === "toolkit")
      problems.push({ key, message: `is not a known key; did you mean ${nearestKey(key)}?` });
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const code = systemCode(cause);
    if (code === "ENOENT") return "";
    throw new OpenClawError(
      "state-unreadable",
      `cannot read the configuration file ${path} (${code ?? String(cause)})`,
      {
        hint: "give the user that runs this command access to it, or name another file with --config or OPENCLAW_CONFIG_PATH",
        details: { path },
        cause,
      },
    );
  }
}
