/** Reads what comes with an invoke: checked once, with limits, typed from here on. Unknown fields are tolerated. */
import * as v from "valibot";
import { invalidRequest } from "./invoke.ts";

/** Words of one command, and characters of all of them: both far below what the kernel takes (E2BIG). */
const maxArgs = 1_000;
const maxCommandChars = 100_000;

/** Variables one call may set, and characters of their names and values together. */
const maxEnvVariables = 200;
const maxEnvChars = 100_000;

/** Names one `system.which` may ask for. */
const maxBins = 200;

const noRecord = "must be an object of strings";
const oneString = "must be an array of strings, one a word: no shell takes a line apart here";
const withoutNul = v.check((text: string) => !text.includes("\0"), "must not contain NUL");
const text = v.pipe(v.string("must be a string"), withoutNul);
const label = v.pipe(text, v.maxLength(512, "must not be longer than 512 characters"));

const command = v.pipe(
  v.array(v.pipe(v.string(oneString), withoutNul), oneString),
  v.check((words) => words[0] !== undefined && words[0] !== "", "required"),
  v.maxLength(maxArgs, `must not have more than ${maxArgs} words`),
  v.check((words) => countChars(words) <= maxCommandChars, `must not be longer than ${maxCommandChars} characters`),
);

const variableName = v.pipe(
  v.string(),
  v.regex(/^[^=\0]+$/u, "must have names that are not empty and without = and NUL"),
);
const env = v.pipe(
  v.custom<Record<string, unknown>>((value) => !Array.isArray(value), noRecord), // valibot takes a list for a record
  v.record(variableName, text, noRecord),
  v.maxEntries(maxEnvVariables, `must not have more than ${maxEnvVariables} variables`),
  v.check(
    (variables) => countChars(Object.entries(variables).flat()) <= maxEnvChars,
    `must not be longer than ${maxEnvChars} characters`,
  ),
);

const planFields = {
  command,
  cwd: v.nullish(v.pipe(text, v.maxLength(4096, "must not be longer than 4096 characters"))),
  agentId: v.nullish(label),
  sessionKey: v.nullish(label),
};
const prepareParams = v.object(planFields, "must be an object");
const runParams = v.object(
  {
    ...planFields,
    env: v.nullish(env),
    timeoutMs: v.nullish(
      v.pipe(v.number("must be a number of milliseconds"), v.finite(), v.minValue(0, "must not be negative")),
    ),
    runId: v.nullish(label),
  },
  "must be an object",
);
const whichParams = v.object(
  {
    bins: v.pipe(
      v.array(v.pipe(text, v.maxLength(255, "must not be longer than 255 characters")), "must be an array of names"),
      v.maxLength(maxBins, `must not have more than ${maxBins} names`),
    ),
  },
  "must be an object",
);
const replaceParams = v.object({ file: v.unknown(), baseHash: v.nullish(label) }, "must be an object");

export type PrepareParams = v.InferOutput<typeof prepareParams>;
export type RunParams = v.InferOutput<typeof runParams>;

/** Params of `system.run.prepare`. Throws INVALID_REQUEST. */
export function readPrepareParams(params: unknown): PrepareParams {
  return read(prepareParams, params);
}

/** Params of `system.run`. Throws INVALID_REQUEST. */
export function readRunParams(params: unknown): RunParams {
  return read(runParams, params);
}

/** Params of `system.which`. Throws INVALID_REQUEST. */
export function readWhichParams(params: unknown): v.InferOutput<typeof whichParams> {
  return read(whichParams, params);
}

/** Params of `system.execApprovals.set`. Throws INVALID_REQUEST. */
export function readReplaceParams(params: unknown): v.InferOutput<typeof replaceParams> {
  return read(replaceParams, params);
}

function read<S extends v.GenericSchema>(schema: S, params: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, params ?? {}, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const isMissing = issue.input === undefined && issue.kind === "schema";
  throw invalidRequest(`${v.getDotPath(issue) ?? "params"} ${isMissing ? "required" : issue.message}`);
}

function countChars(texts: readonly string[]): number {
  return texts.reduce((sum, { length }) => sum + length, 0);
}
