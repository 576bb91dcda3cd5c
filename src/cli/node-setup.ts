/** From flags, configuration and state to the options of a node host. */
import { hostname } from "node:os";
import { OpenClawError } from "../errors.ts";
import { createHandlers } from "../node/handlers/index.ts";
import type { ApprovalsFile } from "../node/exec-approvals.ts";
import { type ExecSecurity, execSecurities } from "../node/exec-policy.ts";
import type { NodeHostOptions } from "../node/index.ts";
import type { Secret } from "../secret.ts";
import { openNodeId } from "../state/node-file.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/** What a node is called, and what it may run. */
export interface NodeIdentityFlags {
  readonly displayName?: string;
  readonly nodeId?: string;
  readonly allow?: readonly string[];
  readonly execPolicy?: string;
}

export interface NodeRunFlags extends TargetFlags, NodeIdentityFlags {
  readonly pair?: string;
  readonly pairFile?: string;
  readonly wait: boolean;
  readonly approvalTimeout: string;
}

/** What a node host is on this machine, whichever gateway it serves. */
export type NodeParts = Omit<NodeHostOptions, "gateway" | "credentials">;

/** With the secret of an invite, that is the one credential besides the device's own. `where` names the gateway. */
export async function prepareNode(
  context: Context,
  flags: NodeIdentityFlags,
  where: TargetFlags,
  bootstrap?: Secret,
): Promise<NodeHostOptions> {
  const target = await context.target(where, { prefersRunning: false });
  const known = {
    ...(target.explicit === undefined ? {} : { explicit: target.explicit }),
    ...(target.configured === undefined ? {} : { configured: target.configured }),
  };
  return {
    ...(await prepareParts(context, flags)),
    gateway: target.address,
    credentials: bootstrap === undefined ? known : { bootstrap },
  };
}

export async function prepareParts(context: Context, flags: NodeIdentityFlags): Promise<NodeParts> {
  const { settings } = await context.config();
  const { env } = context.options;
  const paths = context.paths();
  const displayName = flags.displayName ?? settings["node.displayName"] ?? hostname();
  const execPolicy = readPolicy(flags.execPolicy);
  const pathEnv = env["PATH"];
  return {
    identity: await context.identity(),
    // Looking again makes none.
    identityAt: async (gateway) =>
      (await context.identityFile()) === undefined ? undefined : context.identityAt(gateway),
    memory: await context.tokens(),
    displayName,
    instanceId: flags.nodeId ?? (await openNodeId(paths.node, context.runtime)),
    pathEnv,
    runtime: context.runtime,
    handlers: createHandlers({
      approvals: approvalsFile(paths.execApprovals),
      ...(execPolicy === undefined ? {} : { execPolicy }),
      ...(flags.allow === undefined ? {} : { allow: [...flags.allow] }),
      ...(pathEnv === undefined ? {} : { pathEnv }),
      env,
      displayName,
    }),
  };
}

/** `usage` for a word that is no policy. */
export function readPolicy(wanted: string | undefined): ExecSecurity | undefined {
  if (wanted === undefined) return undefined;
  const found = execSecurities.find((policy) => policy === wanted);
  if (found !== undefined) return found;
  throw new OpenClawError("usage", `there is no exec policy "${wanted}"`, { hint: execSecurities.join(", ") });
}

function approvalsFile(path: string): ApprovalsFile {
  return {
    path,
    read: () => readTextFile(path),
    write: (text) => writeTextFile(path, text),
    withLock: (action) => withLock(`${path}.lock`, action),
  };
}
