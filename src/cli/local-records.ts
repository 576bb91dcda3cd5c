/** The store of this machine's gateway, opened by who owns it, for the commands that pass the gateway by (`--local`). */
import { access, constants, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { OpenClawError } from "../errors.ts";
import { OfflineRecords } from "../gateway/records/offline-records.ts";
import { openTokenKey } from "../state/gateway-secrets.ts";
import { readIdentityFile } from "../state/identity-file.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

/** Opens it for reading and writing. `not-found` where there is no store, `state-unwritable` where it cannot be written by this user. */
async function openLocalRecords(context: Context): Promise<OfflineRecords> {
  const { runtime } = context;
  const { database, deviceTokenKey, identity } = context.paths();
  await assertOwnStore(database);
  const store = await openSqliteStore(database, { runtime });
  try {
    return await OfflineRecords.open({
      store,
      runtime,
      tokenKey: await openTokenKey(deviceTokenKey, runtime),
      publicKey: (await readIdentityFile(identity))?.identity.publicKey ?? "",
      by: { connId: "local", address: "local", name: `${userName()} on the gateway's host` },
    });
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Runs `action` on the records, and closes them. */
export async function withLocalRecords<Result>(
  context: Context,
  action: (records: OfflineRecords) => Promise<Result> | Result,
): Promise<Result> {
  await using records = await openLocalRecords(context);
  return await action(records);
}

/** `usage` when the command line also names a gateway to ask. */
export function refuseTarget({ url, host, port }: TargetFlags): void {
  const named = [url && "--url", host && "--host", port && "--port"].find((one) => one !== undefined && one !== "");
  if (named === undefined) return;
  throw new OpenClawError("usage", `--local and ${named} contradict each other`, {
    hint: "--local asks no gateway: it opens the store of the state directory (--state-dir)",
  });
}

/** Opening makes a store where there is none, and files beside it that belong to whoever opens it. */
async function assertOwnStore(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    throw new OpenClawError("not-found", `there is no store of a gateway at ${path}`, {
      hint: "run this on the gateway's host as the gateway's user, or name its state with --state-dir; a store is made by the first openclaw gateway run",
      details: { path },
    });
  }
  const user = process.getuid?.();
  if (user !== undefined && found.uid !== user)
    throw notYours(path, `it belongs to user ${found.uid}, and you are ${user}`);
  await access(path, constants.R_OK | constants.W_OK).catch((cause: unknown) => {
    throw notYours(path, "you may not write it", cause);
  });
}

function notYours(path: string, why: string, cause?: unknown): OpenClawError {
  return new OpenClawError("state-unwritable", `cannot open ${path} for writing: ${why}`, {
    hint: "run this as the user that the gateway runs as (sudo -u <user> openclaw …)",
    details: { path },
    cause,
  });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.getuid?.() ?? ""}`;
  }
}
