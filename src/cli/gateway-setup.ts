/** From flags and configuration to the options of a gateway: where it listens, whom it believes, what it keeps. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Settings } from "../config/settings.ts";
import { statePaths, type StatePaths } from "../config/paths.ts";
import { OpenClawError, systemCode } from "../errors.ts";
import type { GatewayAuthOptions, GatewayOptions, GatewayRules } from "../gateway/options.ts";
import type { Whois } from "../gateway/arrival/vouching.ts";
import { whoisBy } from "../gateway/arrival/tailscale-whois.ts";
import type { AuthMode } from "../pairing/decide-auth.ts";
import type { TailscaleMode } from "../pairing/vouched.ts";
import { Secret } from "../secret.ts";
import { openGatewayToken, openTokenKey, readGatewayToken, writeNewSecret } from "../state/gateway-secrets.ts";
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
  /** The rules as the configuration has them now, and its settings that only count for a start; throws what is wrong with it. */
  readonly readRules: () => Promise<{ readonly rules: GatewayRules; readonly waiting: readonly StartSetting[] }>;
}

/** Reads, makes and checks everything that a gateway needs before it listens. */
export async function prepareGateway(context: Context, flags: GatewayRunFlags): Promise<GatewaySetup> {
  const things = new AsyncDisposableStack();
  try {
    const { settings } = await context.config();
    const listening = { ...readAddress(flags, settings), ...(await readTls(flags, settings)) };
    const paths = flags.ephemeral === true ? await ephemeralPaths(things) : context.paths();
    if (flags.ephemeral !== true)
      things.use(await acquireLock(join(paths.runDir, "gateway.lock"), { runtime: context.runtime, timeoutMs: 0 }));
    const given = {
      token: await context.secretOption("token", flags.token, flags.tokenFile),
      password: await context.secretOption("password", flags.password, flags.passwordFile),
    };
    const ownToken = () => openOwnToken(context, flags, paths);
    const auth = await readAuth(flags, settings, given, ownToken);
    assertGuarded(auth.mode, listening.host);
    const internalSecret = await writeNewSecret(paths.internalSecret, context.runtime);
    things.defer(() => rm(paths.internalSecret, { force: true }));
    const whois = whoisBy(settings["gateway.tailscale.whoisCommand"] ?? tailscaleWhois, context.runtime);
    const fixed = { internalSecret, whois, upgrade: readUpgrade(flags.upgradeAuth) };
    const options: GatewayOptions = {
      ...listening,
      ...rulesOf(settings, auth, fixed),
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
      authMode: auth.mode ?? "any",
      stateDir: paths.stateDir,
      runDir: paths.runDir,
      shownToken: flags.ephemeral === true ? auth.token : undefined,
      async readRules() {
        const { settings: changed } = await context.freshConfig();
        // A token that was made stays as it was at the start: `gateway token --rotate` says so.
        const { isMade, token } = auth;
        const keptToken = isMade && token !== undefined ? async () => token : ownToken;
        const now = await readAuth(flags, changed, given, keptToken);
        assertGuarded(now.mode, listening.host);
        const waiting = startSettings.filter((key) => changed[key] !== settings[key]);
        return { rules: rulesOf(changed, now, fixed), waiting };
      },
      [Symbol.asyncDispose]: () => made.disposeAsync(),
    };
  } catch (error) {
    await things.disposeAsync();
    throw error;
  }
}

/** What a gateway would be told that started now; nothing is made or changed, and a token that it would make itself is made up. */
export async function foreseeGateway(context: Context): Promise<ForeseenGateway> {
  const { settings } = await context.config();
  const { gatewayToken } = context.paths();
  const madeUp = () => new Secret(Buffer.from(context.runtime.random(32)).toString("base64url"));
  const ownToken = async () => (await readGatewayToken(gatewayToken)) ?? madeUp();
  const { host, port } = readAddress({}, settings);
  const auth = await readAuth({}, settings, { token: undefined, password: undefined }, ownToken);
  assertGuarded(auth.mode, host);
  const unasked: Whois = async () => "unavailable";
  const rules = rulesOf(settings, auth, { internalSecret: madeUp(), whois: unasked, upgrade: undefined });
  return { host, port, rules, settings };
}

export interface ForeseenGateway {
  readonly host: string;
  readonly port: number;
  readonly rules: GatewayRules;
  readonly settings: Settings;
}

/** What a gateway looks at once, when it starts. */
const startSettings = [
  "gateway.port",
  "gateway.bind",
  "gateway.customBindHost",
  "gateway.tls.enabled",
  "gateway.tls.certPath",
  "gateway.tls.keyPath",
  "gateway.tailscale.whoisCommand",
] as const;

type StartSetting = (typeof startSettings)[number];

interface FixedRules {
  readonly internalSecret: Secret;
  readonly whois: Whois;
  readonly upgrade: "required" | "deferred" | undefined;
}

/** Who gets in, with what and how often: what may change while the gateway runs. */
function rulesOf(
  settings: Settings,
  auth: Awaited<ReturnType<typeof readAuth>>,
  { internalSecret, whois, upgrade }: FixedRules,
): GatewayRules {
  return {
    auth: {
      ...(auth.mode === undefined ? {} : { mode: auth.mode }),
      ...(auth.token === undefined ? {} : { token: auth.token }),
      ...(auth.password === undefined ? {} : { password: auth.password }),
      internalSecret,
      upgrade: upgrade ?? settings["gateway.auth.upgrade"],
      ...vouchingOf(settings),
    },
    trustedProxies: settings["gateway.trustedProxies"] ?? [],
    tailscale: { mode: tailscaleMode(settings["gateway.tailscale.mode"]), whois },
    pairing: {
      autoApproveOperators: settings["gateway.pairing.autoApproveOperators"],
      trustedLocalServices: settings["gateway.trustedLocalServices"] ?? [],
      autoApproveCidrs: settings["gateway.nodes.pairing.autoApproveCidrs"] ?? [],
    },
    commands: {
      allow: settings["gateway.nodes.commands.allow"] ?? settings["gateway.nodes.allowCommands"] ?? [],
      deny: settings["gateway.nodes.commands.deny"] ?? settings["gateway.nodes.denyCommands"] ?? [],
    },
    allowedOrigins: settings["gateway.controlUi.allowedOrigins"] ?? [],
    http: { routes: settings["gateway.http.routes"] ?? [] },
    limits: {
      maxAttempts: settings["gateway.auth.rateLimit.maxAttempts"],
      attemptWindowMs: settings["gateway.auth.rateLimit.windowMs"],
      lockoutMs: settings["gateway.auth.rateLimit.lockoutMs"],
    },
  };
}

/** The address of the tailnet is its last argument. */
const tailscaleWhois = ["tailscale", "whois", "--json"];

function vouchingOf(settings: Settings): Pick<GatewayAuthOptions, "loopback" | "trustedProxy" | "identityScopes"> {
  const scopes = settings["gateway.auth.trustedProxy.deviceAutoApprove.scopes"];
  const allowLoopback = settings["gateway.auth.trustedProxy.allowLoopback"];
  const userHeader = settings["gateway.auth.trustedProxy.userHeader"] ?? settings["gateway.auth.trustedProxy.header"];
  return {
    loopback: settings["gateway.auth.loopback"],
    identityScopes: settings["gateway.auth.identityScopes"] ?? {},
    trustedProxy: {
      ...(userHeader === undefined ? {} : { userHeader }),
      requiredHeaders: settings["gateway.auth.trustedProxy.requiredHeaders"] ?? [],
      allowUsers: settings["gateway.auth.trustedProxy.allowUsers"] ?? [],
      ...(allowLoopback === undefined ? {} : { allowLoopback }),
      deviceAutoApprove: {
        enabled: settings["gateway.auth.trustedProxy.deviceAutoApprove.enabled"],
        ...(scopes === undefined ? {} : { scopes }),
      },
    },
  };
}

/** `serve` and `funnel` are how the product says that Serve is there; it takes the user's word of it as well. */
function tailscaleMode(mode: Settings["gateway.tailscale.mode"]): TailscaleMode {
  return mode === "enabled" || mode === "require" ? mode : "disabled";
}

async function ephemeralPaths(things: AsyncDisposableStack): Promise<StatePaths> {
  const stateDir = await mkdtemp(join(tmpdir(), "openclaw-"));
  things.defer(() => rm(stateDir, { recursive: true, force: true }));
  return statePaths({ env: {}, stateDir });
}

async function readAuth(
  flags: GatewayRunFlags,
  settings: Settings,
  given: { readonly token: Secret | undefined; readonly password: Secret | undefined },
  ownToken: () => Promise<Secret>,
) {
  const token = given.token ?? settings["gateway.auth.token"];
  const password = given.password ?? settings["gateway.auth.password"];
  const isProxied = settings["gateway.auth.trustedProxy.enabled"] === true ? "trusted-proxy" : undefined;
  const mode = readMode(flags.auth ?? settings["gateway.auth.mode"] ?? isProxied, { token, password });
  if (mode === "trusted-proxy") {
    assertProxied(settings);
    return { mode, token, password, isMade: false };
  }
  if (mode === "password" && password === undefined) {
    throw new OpenClawError("usage", "password authentication needs a password", {
      hint: "give --password-file, or set gateway.auth.password",
    });
  }
  if (mode !== "token") return { mode, token: mode === "none" ? undefined : token, password, isMade: false };
  if (token !== undefined) return { mode, token, password, isMade: false };
  return { mode, token: await ownToken(), password, isMade: true };
}

/** The token that a gateway makes itself when nobody has given it one. */
async function openOwnToken(context: Context, { ephemeral }: GatewayRunFlags, paths: StatePaths): Promise<Secret> {
  const { token, isNew } = await openGatewayToken(paths.gatewayToken, context.runtime);
  if (isNew && ephemeral !== true)
    context.output.note(`made a token (${token.digest()}); openclaw gateway token --show prints it`);
  return token;
}

/** A proxy that nobody named, or that names no user, lets nobody in: that is better said now. */
function assertProxied(settings: Settings): void {
  const userHeader = settings["gateway.auth.trustedProxy.userHeader"] ?? settings["gateway.auth.trustedProxy.header"];
  if (userHeader === undefined) {
    throw new OpenClawError("usage", "trusted-proxy authentication needs the header that names the user", {
      hint: "set gateway.auth.trustedProxy.userHeader",
      fix: "openclaw config set gateway.auth.trustedProxy.userHeader x-forwarded-user",
    });
  }
  if ((settings["gateway.trustedProxies"] ?? []).length > 0) return;
  throw new OpenClawError("usage", "trusted-proxy authentication needs the proxy's address", {
    hint: "set gateway.trustedProxies",
    fix: "openclaw config set gateway.trustedProxies '[\"127.0.0.1\"]'",
  });
}

/** Unset: whatever is configured may decide (auth.md § 1), and a token is made when nothing is. */
function readMode(
  wanted: string | undefined,
  { token, password }: { readonly token: Secret | undefined; readonly password: Secret | undefined },
): AuthMode | undefined {
  switch (wanted) {
    case undefined:
      if (token !== undefined && password !== undefined) return undefined;
      return password === undefined ? "token" : "password";
    case "token":
    case "password":
    case "trusted-proxy":
    case "none":
      return wanted;
    default:
      throw new OpenClawError("usage", `there is no authentication mode "${wanted}"`, {
        hint: "token, password, trusted-proxy or none",
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

function assertGuarded(mode: AuthMode | undefined, host: string): void {
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
