/** A key of its own for a program that works without a person: made, approved and put into a state directory in one go, on the gateway's host. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { resolve } from "node:path";
import { setKey } from "../config/edit.ts";
import { formatGatewayUrl, formatOrigin, parseGatewayUrl } from "../config/gateway-url.ts";
import { nearest } from "../config/nearest.ts";
import { statePaths, type StatePaths } from "../config/paths.ts";
import type { SettingKey } from "../config/settings.ts";
import { parseFingerprint } from "../config/tls-fingerprint.ts";
import { OpenClawError, systemCode } from "../errors.ts";
import { certificateFingerprint } from "../gateway/endpoint.ts";
import { operatorScopes } from "../protocol/vocabulary.ts";
import { Secret } from "../secret.ts";
import { createIdentityFile } from "../state/identity-file.ts";
import { liveRecords } from "../state/run-record.ts";
import { fileStore } from "../state/secret-store.ts";
import { TokenFile } from "../state/token-memory.ts";
import { writeTextFile } from "../store/atomic-file.ts";
import type { Context } from "./context.ts";
import { withLocalRecords } from "./local-records.ts";

export interface ServiceAccountOrder {
  readonly name: string;
  readonly scopes: readonly string[];
  /** Where its state goes; a directory of its name unless told. */
  readonly out?: string | undefined;
  /** How the program reaches the gateway; this machine's own way unless told. */
  readonly url?: string | undefined;
  readonly tlsFingerprint?: string | undefined;
}

export interface MadeServiceAccount {
  readonly name: string;
  readonly deviceId: string;
  readonly scopes: readonly string[];
  readonly stateDir: string;
  readonly url: string;
}

/** Makes it. What is at its place already is `conflict` and stays as it is; when a step fails nothing is left. */
export async function makeServiceAccount(context: Context, order: ServiceAccountOrder): Promise<MadeServiceAccount> {
  const { runtime } = context;
  const { name, out } = order;
  const scopes = checkedScopes(order.scopes);
  const stateDir = resolve(out ?? checkedName(name));
  const gateway = await gatewayFor(context, order);
  await makeDirectory(stateDir);
  const paths = statePaths({ env: {}, stateDir });
  try {
    const secrets = fileStore(runtime);
    const identity = await createIdentityFile(paths.identity, runtime, secrets);
    await writeConfig(paths, gateway);
    const { deviceId } = identity;
    await withLocalRecords(context, async (records) => {
      const { token } = await records.enrolService({ identity, name, scopes });
      const tokens = new TokenFile(paths.deviceTokens, runtime);
      const key = { gateway: gateway.origin, deviceId, role: "operator" };
      try {
        await tokens.remember(key, { token: new Secret(token), scopes, updatedAtMs: runtime.now() });
      } catch (error) {
        await records.remove(deviceId);
        throw error;
      }
    });
    return { name, deviceId, scopes, stateDir, url: gateway.url };
  } catch (error) {
    await rm(stateDir, { recursive: true, force: true });
    throw error;
  }
}

interface ReachedGateway {
  readonly url: string;
  /** `ws(s)://host:port`: what its tokens are filed under. */
  readonly origin: string;
  readonly tlsFingerprint: string | undefined;
}

async function gatewayFor(context: Context, order: ServiceAccountOrder): Promise<ReachedGateway> {
  const found = order.url === undefined ? await ownGateway(context) : { url: order.url, tlsFingerprint: undefined };
  const url = parseGatewayUrl(found.url, order.url === undefined ? "the gateway's own address" : "--url");
  const { tlsFingerprint: said } = order;
  const tlsFingerprint = said === undefined ? found.tlsFingerprint : parseFingerprint(said, "--tls-fingerprint");
  return { url: formatGatewayUrl(url).replace(/\/$/u, ""), origin: formatOrigin(url), tlsFingerprint };
}

/** The gateway that runs here, else the one that the configuration describes. */
async function ownGateway(context: Context): Promise<Pick<ReachedGateway, "url" | "tlsFingerprint">> {
  const [running] = await liveRecords(context.paths().runDir, "gateway");
  if (running !== undefined) return { url: running.gateway, tlsFingerprint: running.tlsFingerprint };
  const { settings } = await context.config();
  const { "gateway.port": port, "gateway.customBindHost": custom, "gateway.bind": bind } = settings;
  const address = bind === "custom" && custom !== undefined ? custom : "127.0.0.1";
  const host = isIPv6(address) ? `[${address}]` : address;
  const certPath = settings["gateway.tls.enabled"] ? settings["gateway.tls.certPath"] : undefined;
  if (certPath === undefined) return { url: `ws://${host}:${port}`, tlsFingerprint: undefined };
  return { url: `wss://${host}:${port}`, tlsFingerprint: certificateFingerprint(await readFile(certPath, "utf8")) };
}

/** So that every command with this state directory goes to that gateway. */
async function writeConfig({ config }: StatePaths, { url, tlsFingerprint }: ReachedGateway): Promise<void> {
  const values: (readonly [SettingKey, string])[] = [
    ["gateway.mode", "remote"],
    ["gateway.remote.url", url],
    ...(tlsFingerprint === undefined ? [] : [["gateway.remote.tlsFingerprint", tlsFingerprint] as const]),
    ["secretStore", "file"],
  ];
  const text = values.reduce((before, [key, value]) => setKey(before, key, value, config), "");
  await writeTextFile(config, text);
}

function checkedName(name: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,63}$/u.test(name)) return name;
  throw new OpenClawError("usage", `${JSON.stringify(name)} cannot be the name of a directory here`, {
    hint: "use letters, digits, dots, - and _, or name the directory with --out",
  });
}

function checkedScopes(scopes: readonly string[]): readonly string[] {
  for (const scope of scopes) {
    if (operatorScopes.some((known) => known === scope)) continue;
    const close = nearest(scope, operatorScopes);
    throw new OpenClawError("usage", `there is no scope "${scope}"`, {
      hint: close === undefined ? `one of ${operatorScopes.join(", ")}` : `did you mean ${close}?`,
    });
  }
  if (scopes.length > 0) return [...new Set(scopes)];
  throw new OpenClawError("usage", "a service account without scopes may do nothing", {
    hint: "name what it may do: --scope operator.write",
  });
}

/** Made here and now, so that what is taken back after a failure is ours. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    if (systemCode(cause) === "EEXIST") {
      throw new OpenClawError("conflict", `${path} is there already`, {
        hint: "nothing was changed; name another directory with --out",
        details: { path },
      });
    }
    throw new OpenClawError(
      "state-unwritable",
      `cannot make the directory ${path} (${systemCode(cause) ?? String(cause)})`,
      {
        hint: "name another directory with --out",
        details: { path },
        cause,
      },
    );
  }
}
