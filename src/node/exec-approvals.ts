/** The file `exec-approvals.json`: what it may hold, the policy it means, what a gateway sees of it and may put there. */
import { createHash } from "node:crypto";
import * as v from "valibot";
import { isFailure, OpenClawError } from "../errors.ts";
import { execAsks, type ExecPolicy, execSecurities, stricter } from "./exec-policy.ts";

/** Where the approvals are kept. Whoever wires the node gives one whose writes are atomic, mode 0600. */
export interface ApprovalsFile {
  readonly path: string;
  /** The whole text, or undefined when there is no such file. Rejects when there is one that cannot be read. */
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
  /** Runs `action` while no other process writes the file. */
  withLock<T>(action: () => Promise<T>): Promise<T>;
}

/** What `system.execApprovals.get` and `.set` answer. `hash` is the hex SHA-256 of the file's text. */
export interface ApprovalsSnapshot {
  readonly path: string;
  readonly exists: boolean;
  readonly hash: string;
  readonly file: Fields;
}

type Fields = Readonly<Record<string, unknown>>;

/** valibot takes a list for an object; a section that is one would be read as "nothing set". */
const noList = v.custom<Fields>(isObject, "should be an object");

const ruleShape = {
  security: v.optional(v.picklist(execSecurities)),
  ask: v.optional(v.picklist(execAsks)),
};
const entryShape = v.looseObject({ pattern: v.string() });
const agentShape = v.looseObject({ ...ruleShape, allowlist: v.optional(v.array(v.union([v.string(), entryShape]))) });
const approvalsShape = v.looseObject({
  version: v.literal(1),
  socket: v.optional(v.pipe(noList, v.looseObject({}))),
  defaults: v.optional(v.pipe(noList, v.looseObject(ruleShape))),
  agents: v.optional(v.pipe(noList, v.record(v.string(), v.pipe(noList, agentShape)))),
});

export type Approvals = v.InferOutput<typeof approvalsShape>;
type AgentRules = NonNullable<Approvals["agents"]>[string];

/** What stands for a file that is not there: nothing is set, so the policy is an empty allowlist. */
export const noApprovals: Approvals = { version: 1, defaults: {}, agents: {} };

/** The fields of an entry that do not narrow it (protocol.md § 7.5). */
const entryFields = new Set(["id", "pattern", "lastUsedAt", "lastUsedCommand", "lastResolvedPath"]);

/**
 * The policy for one agent: `agents["*"]` before `defaults` before an empty allowlist. The caller names its agent itself and
 * nobody checks that, so the section of a named agent can only make security and ask stricter; its allowlist is added.
 */
export function policyFor(approvals: Approvals, agentId: string | undefined): ExecPolicy {
  const agents = approvals.agents ?? {};
  const everyone = agents["*"];
  const named = agentId !== undefined && Object.hasOwn(agents, agentId) ? agents[agentId] : undefined;
  const security = everyone?.security ?? approvals.defaults?.security ?? "allowlist";
  const ask = everyone?.ask ?? approvals.defaults?.ask ?? "off";
  return {
    security: stricter(execSecurities, security, named?.security),
    ask: stricter(execAsks, ask, named?.ask),
    allowlist: [...patternsOf(everyone), ...patternsOf(named)],
  };
}

/** Reads and checks the file; `noApprovals` when there is none. Throws `state-unreadable`, which names the file. */
export async function readApprovals(file: ApprovalsFile): Promise<Approvals> {
  return parseApprovals(await readText(file), file.path).approvals;
}

/** What a gateway may see: everything but the socket's token. Throws `state-unreadable`. */
export async function readSnapshot(file: ApprovalsFile): Promise<ApprovalsSnapshot> {
  return snapshotOf(await readText(file), file.path);
}

/**
 * Replaces the file if it still has the text whose hash is `baseHash` (not needed when there is no file yet). The socket
 * section belongs to this machine and stays. Throws `conflict` when the file changed, `usage` for a `next` that is no
 * approvals file, `state-unreadable` for a file that is not ours to replace.
 */
export async function replaceApprovals(
  file: ApprovalsFile,
  next: unknown,
  baseHash: string | undefined,
): Promise<ApprovalsSnapshot> {
  const problem = findProblem(next);
  if (!isObject(next) || problem !== undefined) {
    throw new OpenClawError("usage", `file is no exec approvals file: ${problem}`);
  }
  return file.withLock(async () => {
    const text = await readText(file);
    const { fields: current } = parseApprovals(text, file.path);
    checkBase(text, baseHash);
    const nextText = `${JSON.stringify({ ...next, ...socketToKeep(current, next) }, undefined, 2)}\n`;
    if (nextText.length > maxApprovalsChars) {
      throw new OpenClawError("usage", `exec approvals are limited to ${maxApprovalsChars} characters`);
    }
    await file.write(nextText);
    return snapshotOf(nextText, file.path);
  });
}

/** Characters of the file: thousands of entries, and still nothing to be afraid of at each run. */
export const maxApprovalsChars = 1_000_000;

function patternsOf(rules: AgentRules | undefined): string[] {
  return (rules?.allowlist ?? []).flatMap((entry) => {
    if (typeof entry === "string") return [entry];
    // A field unknown here may be a condition (on arguments, say); an entry must not grant more than it says.
    return Object.keys(entry).every((field) => entryFields.has(field)) ? [entry.pattern] : [];
  });
}

async function readText(file: ApprovalsFile): Promise<string | undefined> {
  try {
    return await file.read();
  } catch (cause) {
    if (isFailure(cause, "state-unreadable")) throw cause;
    throw unreadable(file.path, "cannot be read", cause);
  }
}

/** The checked values, and the fields as they stand in the file: the schema's output would lose some, as "__proto__". */
function parseApprovals(text: string | undefined, path: string): { approvals: Approvals; fields: Fields } {
  if (text === undefined) return { approvals: noApprovals, fields: noApprovals };
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch (cause) {
    throw unreadable(path, "is not JSON", cause);
  }
  const { success, output: approvals } = v.safeParse(approvalsShape, fields);
  if (success && isObject(fields)) return { approvals, fields };
  throw unreadable(path, `has another shape: ${findProblem(fields)}`);
}

function snapshotOf(text: string | undefined, path: string): ApprovalsSnapshot {
  const { socket, ...rest } = parseApprovals(text, path).fields;
  const file = isObject(socket) ? { ...rest, socket: withoutToken(socket) } : rest;
  return { path, exists: text !== undefined, hash: hashText(text), file };
}

function checkBase(text: string | undefined, baseHash: string | undefined): void {
  if (baseHash === undefined) {
    if (text === undefined) return;
    throw new OpenClawError("conflict", "baseHash is needed to replace exec approvals: get them first");
  }
  if (baseHash === hashText(text)) return;
  throw new OpenClawError("conflict", "exec approvals changed since they were read: get them again and retry");
}

function socketToKeep(current: Fields, next: Fields): Fields {
  if (isObject(current["socket"])) return { socket: current["socket"] };
  return isObject(next["socket"]) ? { socket: withoutToken(next["socket"]) } : {};
}

function withoutToken(socket: Fields): Fields {
  const { token: _token, ...rest } = socket;
  return rest;
}

function hashText(text: string | undefined): string {
  return createHash("sha256")
    .update(text ?? "", "utf8")
    .digest("hex");
}

/** What is wrong with the shape, or undefined. */
function findProblem(value: unknown): string | undefined {
  const [issue] = v.safeParse(approvalsShape, value).issues ?? [];
  return issue && `${v.getDotPath(issue) ?? "the whole"} should be ${issue.expected ?? "an object"}`;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(path: string, what: string, cause?: unknown): OpenClawError {
  return new OpenClawError("state-unreadable", `exec approvals file ${path} ${what}`, {
    hint: "repair it, or move it away to start with an empty allowlist",
    cause,
  });
}
