/** What the commands about services do to them, step by step. */
import { existsSync } from "node:fs";
import { lstat, rm } from "node:fs/promises";
import { formatEnvFile, readEnvFile, type SecretVariables } from "../config/env-file.ts";
import { isFailure } from "../errors.ts";
import type { ServiceManager } from "../service/service-manager.ts";
import type { ServiceOwner } from "../service/service-spec.ts";
import { lingers } from "../service/systemd.ts";
import { writeTextFile } from "../store/atomic-file.ts";
import type { Context } from "./context.ts";
import {
  commandFor,
  requireService,
  type ServedNode,
  serviceName,
  type ServiceView,
  settledNode,
  type StartedService,
  steeredManager,
  userName,
  viewService,
} from "./service-host.ts";
import { nodeLines, serviceLines } from "./service-lines.ts";
import { reportPath } from "./service-node.ts";
import type { ServicePlan } from "./service-plan.ts";
import { secretStatus } from "./secret-status.ts";

/** Writes the secrets' file and the service's, both 0600, the secrets first: the other names it. */
export async function writeService(manager: ServiceManager, { spec, secrets }: ServicePlan): Promise<void> {
  const { name, envFile } = spec.owner;
  await writeTextFile(envFile, formatEnvFile(secrets));
  await writeTextFile(manager.unitOf(name).path, manager.text(name, spec));
}

/** The names of the secrets that the service had and would no longer have. A file that cannot be read has none that anybody could name. */
export async function droppedSecrets({ spec, secrets }: ServicePlan): Promise<readonly string[]> {
  const before: SecretVariables = await readEnvFile(spec.owner.envFile).catch(() => ({}));
  return Object.keys(before).filter((name) => !Object.hasOwn(secrets, name));
}

/** Starts the service of this name, or anew, and answers with how it and its node are doing. */
export async function bringUp(context: Context, label: string | undefined, verb: "start" | "restart"): Promise<void> {
  const manager = steeredManager(context);
  const owner = await requireService(context, manager, serviceName(label));
  const { node, state } = await startedService(context, manager, owner.name, verb);
  moved(context, await viewService(manager, owner, state), node);
}

/** Starts the service, now and with each session, and waits for how its node is doing. */
export async function startedService(
  context: Context,
  manager: ServiceManager,
  name: string,
  verb: "start" | "restart",
): Promise<StartedService> {
  const { pid, run } = await manager.state(name);
  const isUp = verb === "start" && run === "running" && pid !== undefined;
  // One that runs already has said what there is to say.
  const sinceMs = isUp ? 0 : context.runtime.now();
  await manager.enable(name);
  await manager[verb](name);
  return settledNode(context, manager, name, sinceMs);
}

/** What was removed, and whether the service could be stopped before. */
export async function removeService(
  context: Context,
  manager: ServiceManager,
  { name, envFile }: Pick<ServiceOwner, "name" | "envFile">,
): Promise<{ readonly removed: readonly string[]; readonly stopped: boolean }> {
  const { unit, path } = manager.unitOf(name);
  const stopped = await (existsSync(path) ? manager.disable(name) : manager.stop(name)).then(
    () => true,
    (error: unknown) => {
      // Without its manager nothing runs, as a rule; the files are ours all the same.
      if (!isFailure(error, "no-service-manager")) throw error;
      context.output.warn(`${unit} could not be stopped: ${error.message}`);
      return false;
    },
  );
  const removed = (await Promise.all([path, envFile, reportPath(context, name)].map(removeFile))).flat();
  await manager.forget(name);
  return { removed, stopped };
}

async function removeFile(path: string): Promise<readonly string[]> {
  if ((await lstat(path).catch(() => undefined)) === undefined) return [];
  await rm(path);
  return [path];
}

/** Says when the service will not run, could be without its key, or without its program. */
export async function noteLimits(context: Context, { kind }: ServiceManager, { spec }: ServicePlan): Promise<void> {
  if (spec.command.some((word) => /[\\/]_npx[\\/]/u.test(word))) {
    context.output.warn(
      "the service starts a copy of openclaw that npx may remove: npm install --global openclaw-toolkit, then install the service again",
    );
  }
  if (kind === "systemd" && !lingers(userName())) {
    context.output.note(
      `the service runs while ${userName()} is logged in; to keep it running: loginctl enable-linger ${userName()}`,
    );
  }
  if ((await secretStatus(context))?.store === "keychain") {
    context.output.note(
      "this device's key is in the keychain, which is open while its user is logged in; openclaw identity move --to file makes the service independent of that",
    );
  }
}

interface Installed {
  readonly updated: boolean;
  readonly gateway: string;
  /** The names of the variables in the environment file. */
  readonly secrets: readonly string[];
  /** The names of those that were in it and are no longer, where there are any. */
  readonly dropped?: readonly string[];
}

/** The answer of `node install`. */
export async function installed(
  context: Context,
  manager: ServiceManager,
  owner: ServiceOwner,
  made: Installed,
  start: StartedService | undefined,
): Promise<void> {
  const service = await viewService(manager, owner, start?.state);
  const node = start?.node;
  const value = { service, started: start !== undefined, ...made, ...(node === undefined ? {} : { node }) };
  context.output.result(value, ({ updated, secrets, dropped = [] }) =>
    [
      updated ? `updated ${service.unit}` : `installed ${service.unit}`,
      ...serviceLines(service),
      `             ${secrets.length === 0 ? "it holds no secret" : `it holds ${secrets.join(", ")}`}`,
      ...(dropped.length === 0 ? [] : [`             no longer given, and dropped: ${dropped.join(", ")}`]),
      ...(node === undefined ? [notStarted(context, service)] : nodeLines(context, node)),
    ].join("\n"),
  );
}

function notStarted(context: Context, { name, state }: ServiceView): string {
  return state === "running"
    ? `it goes on as it was until: ${context.pasteable(commandFor("restart", name))}`
    : `not started: ${context.pasteable(commandFor("start", name))}`;
}

/** The answer of the commands that only move it. */
export function moved(context: Context, service: ServiceView, node?: ServedNode): void {
  context.output.result({ service, ...(node === undefined ? {} : { node }) }, () =>
    [...serviceLines(service), ...(node === undefined ? [] : nodeLines(context, node))].join("\n"),
  );
}
