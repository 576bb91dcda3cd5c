/** From flags and configuration to the options of a gateway: where it listens, whom it believes, what it keeps. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Settings } from "../config/settings.ts";
import { statePaths, type StatePaths } from "../config/paths.ts";
import { OpenClawError, systemCode } from "../errors.ts";
import type { GatewayOptions } from "../gateway/options.ts";
import type { Secret } from "../secret.ts";
import { openGatewayToken, openTokenKey, writeNewSecret } from "../state/gateway-secrets.ts";
import { openPublicIdentity } from "../state/identity-file.ts";
import { acquireLock } from "../store/lock.ts";
import type { Context } from "./context.ts";

export interface GatewayRunFlags {
  readonly port?: string;
  readonly bind?: string;
  readonly auth?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly password?: string;
  readonly passwordFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly upgradeAuth?: string;
  readonly ephemeral?: boolean;
}

export interface GatewaySetup extends AsyncDisposable {
  readonly options: GatewayOptions;
  readonly authMode: string;
  readonly stateDir: string;
  readonly runDir: string;
  /** The made-up token of an ephemeral gateway: the only one that the ready event shows. */
  readonly shownToken: Secret | undefined;
}

type AuthMode = "token" | "password" | "none";

/** Reads, makes and checks everything that a gateway needs before it listens. */
export async function prepareGateway(context: Context, flags: GatewayRunFlags): Promise<GatewaySetup> {
  const things = new AsyncDisposableStack();
  try {
    const { settings } = await context.config();
    const listening = { ...readAddress(flags, settings), ...(await readTls(flags, settings)) };
    const upgrade = readUpgrade(flags.upgradeAuth) ?? settings["gateway.auth.upgrade"];
    const paths = flags.ephemeral === true ? await ephemeralPaths(things) : context.paths();
    if (flags.ephemeral !== true)
      things.use(await acquireLock(join(paths.runDir, "gateway.lock"), { runtime: context.runtime, timeoutMs: 0 }));
    const auth = await readAuth(context, flags, settings, paths);
    assertGuarded(auth.mode, listening.host);
    const internalSecret = await writeNewSecret(paths.internalSecret, context.runtime);
    things.defer(() => rm(paths.internalSecret, { force: true }));
    const options: GatewayOptions = {
      ...listening,
      auth: {
        mode: auth.mode,
        ...(auth.token === undefined ? {} : { token: auth.token }),
        ...(auth.password === undefined ? {} : { password: auth.password }),
        internalSecret,
        upgrade,
      },
      pairing: {
        autoApproveOperators: settings["gateway.pairing.autoApproveOperators"],
        trustedLocalServices: settings["gateway.trustedLocalServices"] ?? [],
      },
      commands: {
        allow: settings["gateway.nodes.commands.allow"] ?? settings["gateway.nodes.allowCommands"] ?? [],
        deny: settings["gateway.nodes.commands.deny"] ?? settings["gateway.nodes.denyCommands"] ?? [],
      },
      allowedOrigins: settings["gateway.controlUi.allowedOrigins"] ?? [],
      limits: {
        maxAttempts: settings["gateway.auth.rateLimit.maxAttempts"],
        attemptWindowMs: settings["gateway.auth.rateLimit.windowMs"],
        lockoutMs: settings["gateway.auth.rateLimit.lockoutMs"],
      },
      store: paths.database,
      tokenKey: await openTokenKey(paths.deviceTokenKey, context.runtime),
      identity: await openPublicIdentity(
        paths.identity,
        context.runtime,
        // What is thrown away with its directory leaves nothing in a keychain.
        flags.ephemeral === true ? undefined : await context.secrets(),
      ),
      runtime: context.runtime,
    };
    const made = things.move();
    return {
      options,
      authMode: auth.mode,
      stateDir: paths.stateDir,
      runDir: paths.runDir,
      shownToken: flags.ephemeral === true ? auth.token : undefined,
      [Symbol.asyncDispose]: () => made.disposeAsync(),
    };
  } catch (error) {
    await things.disposeAsync();
    throw error;
  }
}

async function ephemeralPaths(things: AsyncDisposableStack): Promise<StatePaths> {
  const stateDir = await mkdtemp(join(tmpdir(), "openclaw-"));
  things.defer(() => rm(stateDir, { recursive: true, force: true }));
  return statePaths({ env: {}, stateDir });
}

async function readAuth(context: Context, flags: GatewayRunFlags, settings: Settings, paths: StatePaths) {
  const token = (await context.secretOption("token", flags.token, flags.tokenFile)) ?? settings["gateway.auth.token"];
  const password =
    (await context.secretOption("password", flags.password, flags.passwordFile)) ?? settings["gateway.auth.password"];
  const mode = readMode(flags.auth ?? settings["gateway.auth.mode"], password);
  if (mode === "password" && password === undefined) {
    throw new OpenClawError("usage", "password authentication needs a password", {
      hint: "give --password-file, or set gateway.auth.password",
    });
  }
  if (mode !== "token") return { mode, token: mode === "none" ? undefined : token, password };
  if (token !== undefined) return { mode, token, password };
  const { token: made, isNew } = await openGatewayToken(paths.gatewayToken, context.runtime);
  if (isNew && flags.ephemeral !== true)
    context.output.note(`made a token (${made.digest()}); openclaw gateway token --show prints it`);
  return { mode, token: made, password };
}

/** Unset: a password alone means password, as in the product; otherwise token. */
function readMode(wanted: string | undefined, password: Secret | undefined): AuthMode {
  switch (wanted) {
    case undefined:
      return password === undefined ? "token" : "password";
    case "token":
    case "password":
    case "none":
      return wanted;
    case "trusted-proxy":
      throw new OpenClawError("usage", "this version's gateway cannot take a proxy's word on who its users are", {
        hint: "use --auth token or --auth password; the product's own gateway has trusted-proxy",
      });
    default:
      throw new OpenClawError("usage", `there is no authentication mode "${wanted}"`, {
        hint: "token, password or none",
      });
  }
}

function readUpgrade(wanted: string | undefined): "required" | "deferred" | undefined {
  if (wanted === undefined || wanted === "required" || wanted === "deferred") return wanted;
  throw new OpenClawError("usage", `--upgrade-auth cannot be "${wanted}"`, { hint: "required or deferred" });
}

function readAddress(flags: GatewayRunFlags, settings: Settings): { readonly host: string; readonly port: number } {
  return { host: readBind(flags.bind ?? settings["gateway.bind"], settings), port: readPort(flags, settings) };
}

function assertGuarded(mode: AuthMode, host: string): void {
  if (mode !== "none" || isLoopback(host)) return;
  throw new OpenClawError("usage", `without authentication the gateway would be open to everyone who reaches ${host}`, {
    hint: "use --auth token, or bind to loopback",
  });
}

function readBind(bind: string, settings: Settings): string {
  switch (bind) {
    case "loopback":
      return "127.0.0.1";
    case "lan":
    case "auto":
      return "0.0.0.0";
    case "custom": {
      const address = settings["gateway.customBindHost"];
      if (address !== undefined) return address;
      throw new OpenClawError("usage", "gateway.bind is custom, but gateway.customBindHost is not set");
    }
    default:
      if (isIP(bind) !== 0) return bind;
      throw new OpenClawError("usage", `cannot bind to "${bind}"`, {
        hint: "loopback, lan, or an IP address of this machine",
      });
  }
}

function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}

function readPort({ port, ephemeral }: GatewayRunFlags, settings: Settings): number {
  if (port === undefined) return ephemeral === true ? 0 : settings["gateway.port"];
  const number = /^\d{1,5}$/u.test(port) ? Number(port) : Number.NaN;
  if (number <= 65_535) return number;
  throw new OpenClawError("usage", `--port ${JSON.stringify(port)} is not a port`, {
    hint: "a whole number from 0 to 65535",
  });
}

async function readTls({ tlsCert, tlsKey }: GatewayRunFlags, settings: Settings): Promise<Pick<GatewayOptions, "tls">> {
  const isOn = tlsCert !== undefined || tlsKey !== undefined || settings["gateway.tls.enabled"];
  if (!isOn) return {};
  const certPath = tlsCert ?? settings["gateway.tls.certPath"];
  const keyPath = tlsKey ?? settings["gateway.tls.keyPath"];
  if (certPath === undefined || keyPath === undefined) {
    throw new OpenClawError("usage", "TLS needs a certificate and its key", {
      hint: "give both --tls-cert and --tls-key",
    });
  }
  return { tls: { cert: await readPem(certPath), key: await readPem(keyPath) } };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new OpenClawError("usage", `cannot read ${path} (${systemCode(cause) ?? String(cause)})`, { cause });
  }
}
