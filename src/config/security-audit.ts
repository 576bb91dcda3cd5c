/**
 * What is unsafe in a configuration and in the files of a state directory: a table of checks, each from facts to findings. Nothing is
 * read here, and no finding has a secret in it.
 */
import type { Secret } from "../secret.ts";
import { shellWord } from "../shell-word.ts";
import { isLoopbackHost } from "./address.ts";
import { isOfLoopback, rangesMeet, rangeWidth } from "./range-width.ts";
import type { SettingKey, Settings } from "./settings.ts";
import { weaknessOf } from "./weak-secret.ts";

/** `critical`: somebody who should not can get in now; `warn`: one mistake more and they can; `info`: worth knowing. */
export type Severity = "critical" | "warn" | "info";

export interface Finding {
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  readonly why: string;
  /** What to do: a command to paste, where one can do it. */
  readonly fix: string;
}

/** A file or directory that is there. */
export interface FileFacts {
  readonly path: string;
  /** `key`: who reads it gets in, or can act for this machine. `product`: the product's configuration. */
  readonly kind: "key" | "records" | "config" | "product" | "directory";
  /** The settings whose secrets stand in it. */
  readonly secrets: readonly SettingKey[];
  /** Permission bits (chmod(2)). */
  readonly mode: number;
  readonly isOwn: boolean;
}

export interface AuditedState {
  readonly settings: Settings;
  /** The token that the gateway has made itself, where it has. */
  readonly ownToken: Secret | undefined;
  readonly files: readonly FileFacts[];
  /** Whether the program that confirms the tailnet's users is there. */
  readonly hasTailscale: boolean;
}

type Check = (state: AuditedState) => readonly Finding[];

/** Every finding, the worst first. */
export function auditSecurity(state: AuditedState): readonly Finding[] {
  const found = checks.flatMap((check) => check(state));
  return found.toSorted((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
}

const severities: readonly Severity[] = ["critical", "warn", "info"];

const set = (key: SettingKey, value: string) => `openclaw config set ${key} ${shellWord(value)}`;
const when = (isSo: boolean, finding: Finding): readonly Finding[] => (isSo ? [finding] : []);

function isOpenToNetwork({ settings }: AuditedState): boolean {
  const bind = settings["gateway.bind"];
  if (bind === "loopback") return false;
  const host = bind === "custom" ? (settings["gateway.customBindHost"] ?? "0.0.0.0") : bind;
  return !isLoopbackHost(host);
}

function modeOf({ settings }: AuditedState): string {
  const older = settings["gateway.auth.trustedProxy.enabled"] === true ? "trusted-proxy" : undefined;
  return settings["gateway.auth.mode"] ?? older ?? "token";
}

const isProxied = (state: AuditedState) => modeOf(state) === "trusted-proxy";

const userHeaderOf = ({ settings }: AuditedState) =>
  settings["gateway.auth.trustedProxy.userHeader"] ?? settings["gateway.auth.trustedProxy.header"];

const withoutAuthentication: Check = (state) => {
  if (modeOf(state) !== "none") return [];
  const fix = set("gateway.auth.mode", "token");
  if (isOpenToNetwork(state)) {
    const what = "the gateway listens on the network without authentication";
    return [{ id: "auth.none-on-network", severity: "critical", what, why: "whoever reaches its port is in", fix }];
  }
  return [
    {
      id: "auth.none-on-loopback",
      severity: "warn",
      what: "the gateway has no authentication",
      why: "loopback alone is no proof of local: every user of this machine, every tunnel and every proxy that ends here comes from 127.0.0.1 too",
      fix,
    },
  ];
};

const loopbackEnrolment: Check = ({ settings }) =>
  when(settings["gateway.pairing.autoApproveOperators"] === "loopback", {
    id: "pairing.loopback-is-local",
    severity: "warn",
    what: "operators on loopback that show the shared secret are enrolled without a person",
    why: "loopback alone is not enough: a forward of ssh or a proxy comes from 127.0.0.1 too, and whoever is behind it gets every scope that it asks for",
    fix: set("gateway.pairing.autoApproveOperators", "proven-local"),
  });

const headlessServices: Check = ({ settings }) =>
  when((settings["gateway.trustedLocalServices"] ?? []).length === 0, {
    id: "services.loopback-is-not-enough",
    severity: "info",
    what: "no local service is named in gateway.trustedLocalServices",
    why: "loopback alone is not enough for a program without a device key: it keeps no scopes, unless it is listed there or has a key of its own",
    fix: "openclaw devices service-account create my-service --scope operator.write",
  });

const powerfulServices: Check = ({ settings }) =>
  (settings["gateway.trustedLocalServices"] ?? [])
    .filter(({ scopes }) => scopes.includes("operator.admin"))
    .map(({ id }) => ({
      id: "services.admin",
      severity: "warn",
      what: `the local service ${id} has operator.admin without a key of its own`,
      why: "whoever holds the shared token and reaches loopback can call itself that",
      fix: `openclaw devices service-account create ${shellWord(id)} --scope operator.admin`,
    }));

const insecureControlUi: Check = ({ settings }) =>
  when(settings["gateway.controlUi.allowInsecureAuth"] === true, {
    id: "control-ui.insecure-auth",
    severity: "critical",
    what: "gateway.controlUi.allowInsecureAuth is on",
    why: "the product's gateway then lets the dashboard in by the shared token alone, without a device key; ours does not, whatever this says",
    fix: set("gateway.controlUi.allowInsecureAuth", "false"),
  });

const browserOrigins: Check = (state) => {
  const origins = state.settings["gateway.controlUi.allowedOrigins"] ?? [];
  const plain = origins.filter((origin) => {
    const url = URL.parse(origin);
    return url?.protocol === "http:" && !isLoopbackHost(url.hostname);
  });
  // One list for whatever is wrong with this one: a fix must not leave, or bring back, what the next one takes out.
  const named = origins
    .filter((origin) => origin !== "*")
    .map((origin) => (plain.includes(origin) ? origin.replace(/^http:/iu, "https:") : origin));
  const safe = named.length === 0 ? ["https://gateway.example"] : [...new Set(named)];
  const fix = set("gateway.controlUi.allowedOrigins", JSON.stringify(safe));
  return [
    ...when(origins.includes("*"), {
      id: "origins.any",
      severity: isProxied(state) ? "critical" : "warn",
      what: "pages of every origin may connect",
      why: "any page that a user visits can open a session in their name, where a proxy vouches for their browser",
      fix,
    }),
    ...plain.map(
      (origin): Finding => ({
        id: "origins.plain-http",
        severity: "warn",
        what: `pages of ${origin} may connect`,
        why: "whoever stands between can put anything into a page that comes without TLS, and open a session in its reader's name",
        fix,
      }),
    ),
    ...when(isProxied(state) && origins.length === 0, {
      id: "origins.none-behind-proxy",
      severity: "warn",
      what: "no browser origin is named, and a proxy vouches for browsers",
      why: "a page is then known only by the Host header that the proxy passes on, and one that keeps the caller's own lets other pages pass",
      fix,
    }),
  ];
};

const weakSecrets: Check = ({ settings, ownToken }) => {
  const token = settings["gateway.auth.token"] ?? ownToken;
  const password = settings["gateway.auth.password"];
  const judged = [
    ["token", token, "openclaw gateway token --rotate"],
    ["password", password, "openclaw config set gateway.auth.password --value-file new-password"],
  ] as const;
  const weak = judged.flatMap(([kind, secret, fix]): Finding[] => {
    const weakness = secret === undefined ? undefined : weaknessOf(secret.reveal(), kind);
    if (weakness === undefined) return [];
    const severity = weakness.kind === "guessed" ? "critical" : "warn";
    const isConfigured = kind === "token" && settings["gateway.auth.token"] !== undefined;
    const remedy = isConfigured ? "openclaw config set gateway.auth.token --value-file new-token" : fix;
    return [
      { id: `secret.weak-${kind}`, severity, what: `the gateway's ${kind} is weak`, why: weakness.why, fix: remedy },
    ];
  });
  const isSame = token !== undefined && password?.reveal() === token.reveal();
  return [
    ...weak,
    ...when(isSame, {
      id: "secret.token-is-password",
      severity: "warn",
      what: "the gateway's token is its password too",
      why: "who learns one has both, and changing one of them ends nothing",
      fix: "openclaw config set gateway.auth.password --value-file new-password",
    }),
  ];
};

const openFiles: Check = ({ files }) =>
  files.flatMap(({ path, kind, mode, isOwn, secrets }): Finding[] => {
    const canRead = (mode & 0o044) !== 0;
    const canWrite = (mode & 0o022) !== 0;
    const octal = (mode & 0o777).toString(8).padStart(4, "0");
    const fix = `chmod ${kind === "directory" ? "700" : "600"} ${shellWord(path)}`;
    if (!isOwn) {
      const what = `${path} belongs to another user`;
      const own = `sudo chown "$(id -un)" ${shellWord(path)}`;
      return [{ id: "files.foreign", severity: "warn", what, why: "its owner can change what stands in it", fix: own }];
    }
    if (canWrite) {
      const what = `other users can write ${path} (mode ${octal})`;
      return [{ id: "files.writable", severity: "critical", what, why: "they can let themselves in", fix }];
    }
    if (!canRead) return [];
    const what = `other users can read ${path} (mode ${octal})`;
    if (kind === "key" || secrets.length > 0) {
      const why = "there are secrets in it: whoever reads them can get in as you";
      return [{ id: "files.secret-readable", severity: "critical", what, why, fix }];
    }
    if (kind === "config" || kind === "product") return [];
    return [{ id: "files.readable", severity: "warn", what, why: "it says who may do what here", fix }];
  });

const secretsInProductFile: Check = ({ files }) =>
  files
    .filter(({ kind, secrets }) => kind === "product" && secrets.length > 0)
    .map(({ path, secrets }) => ({
      id: "secret.in-product-file",
      severity: "info",
      what: `${path} holds ${secrets.join(", ")}`,
      why: "the product keeps backups of this file, and whatever it starts can read it",
      fix: `write a reference such as "\${OPENCLAW_GATEWAY_TOKEN}" in its place, and give the secret in the environment`,
    }));

const wideProxies: Check = ({ settings }) =>
  (settings["gateway.trustedProxies"] ?? []).flatMap((range): Finding[] => {
    const finding = (severity: Severity, what: string, why: string): Finding[] => [
      { id: "proxy.wide", severity, what, why, fix: set("gateway.trustedProxies", '["192.0.2.10"]') },
    ];
    const forge = "whoever has an address in it can call themselves any user, and any address";
    switch (rangeWidth(range)) {
      case "everybody":
        return finding("critical", `every address is a trusted proxy (${range})`, forge);
      case "public-wide":
        return finding("critical", `${range} is trusted as a proxy, and takes in other people's machines`, forge);
      case "private-wide":
        return finding("warn", `${range} is trusted as a proxy, which is a whole private network`, forge);
      case "loopback":
        return finding(
          "warn",
          `${range} is trusted as a proxy`,
          "every program and every tunnel on this machine is in it",
        );
      case "narrow":
        return [];
    }
  });

const loopbackProxy: Check = (state) => {
  const { settings } = state;
  const key = "gateway.auth.trustedProxy.allowLoopback";
  const literal = (settings["gateway.trustedProxies"] ?? []).find(
    (range) => !range.includes("/") && isLoopbackHost(range),
  );
  if (!isProxied(state) || literal === undefined || settings[key] === false) return [];
  const why =
    "loopback alone is not a proof that it is the proxy: every program of every user here, and every tunnel that ends here, can name any user";
  const what = `a proxy on this machine is believed (${literal})`;
  return settings[key] === true
    ? [
        {
          id: "proxy.loopback",
          severity: "info",
          what,
          why,
          fix: set("gateway.auth.trustedProxy.requiredHeaders", '["x-proxy-secret"]'),
        },
      ]
    : [
        {
          id: "proxy.loopback-implied",
          severity: "warn",
          what: `${what} because its address is listed; ${key} is not set`,
          why,
          fix: set(key, "true"),
        },
      ];
};

const proxyUsers: Check = (state) => {
  const { settings } = state;
  if (!isProxied(state)) return [];
  const users = settings["gateway.auth.trustedProxy.allowUsers"] ?? [];
  const cap = settings["gateway.auth.trustedProxy.deviceAutoApprove.scopes"];
  const named = settings["gateway.auth.identityScopes"];
  return [
    ...when(userHeaderOf(state) === undefined, {
      id: "proxy.no-user-header",
      severity: "critical",
      what: "the mode is trusted-proxy, and no header names the user",
      why: "nobody can be told from anybody: our gateway does not start like this",
      fix: set("gateway.auth.trustedProxy.userHeader", "x-forwarded-user"),
    }),
    ...when(users.length === 0, {
      id: "proxy.every-user",
      severity: "info",
      what: "every user whom the proxy names may come in",
      why: "the single sign-on may know more people than this gateway is for",
      fix: set("gateway.auth.trustedProxy.allowUsers", '["me@example.com"]'),
    }),
    ...when(cap === undefined && named === undefined, {
      id: "proxy.every-user-is-admin",
      severity: "warn",
      what: "every user whom the proxy names gets operator.admin",
      why: "no scopes are set, neither by user nor as a cap",
      fix: set("gateway.auth.trustedProxy.deviceAutoApprove.scopes", '["operator.read","operator.write"]'),
    }),
  ];
};

/** Who may come as a node at all. */
function whoComesIn(state: AuditedState): string {
  switch (modeOf(state)) {
    case "trusted-proxy":
      return "whoever the proxy lets through with an address there";
    case "none":
      return "whoever has an address there";
    default:
      return "whoever has the shared secret and an address there";
  }
}

const wideAutoApproval: Check = (state) =>
  (state.settings["gateway.nodes.pairing.autoApproveCidrs"] ?? []).flatMap((range): Finding[] => {
    const width = rangeWidth(range);
    if (width === "narrow" || width === "loopback") return [];
    return [
      {
        id: "nodes.auto-approve-wide",
        severity: width === "private-wide" ? "warn" : "critical",
        what: `new nodes from ${range} need no approval`,
        why: `${whoComesIn(state)} adds a machine`,
        fix: set("gateway.nodes.pairing.autoApproveCidrs", "[]"),
      },
    ];
  });

const autoApprovedProxies: Check = ({ settings }) => {
  const ranges = settings["gateway.nodes.pairing.autoApproveCidrs"] ?? [];
  const proxies = settings["gateway.trustedProxies"] ?? [];
  // Of loopback no node is approved by its address.
  const shared = ranges.flatMap((range) => {
    const proxy = proxies.find((one) => rangesMeet(one, range) && !isOfLoopback(one) && !isOfLoopback(range));
    return proxy === undefined ? [] : [{ range, proxy }];
  });
  const others = ranges.filter((range) => !shared.some((one) => one.range === range));
  return shared.map(({ range, proxy }) => ({
    id: "nodes.auto-approve-proxy",
    severity: "warn",
    what: `new nodes from ${range} need no approval, and proxies are trusted there (${proxy === range ? "the same range" : proxy})`,
    why: "who comes through a proxy that names no client has the proxy's address, and who sits at a proxy's address can name any other: both add machines",
    fix: set("gateway.nodes.pairing.autoApproveCidrs", JSON.stringify(others)),
  }));
};

const tailscale: Check = ({ settings, hasTailscale }) => {
  const mode = settings["gateway.tailscale.mode"];
  return when((mode === "enabled" || mode === "require") && !hasTailscale, {
    id: "tailscale.no-whois",
    severity: "warn",
    what: `gateway.tailscale.mode is ${mode}, and the program that confirms users is not there`,
    why: "Serve's headers alone could be anybody's on this machine: without whois nobody comes in by them",
    fix: set("gateway.tailscale.whoisCommand", '["/usr/bin/tailscale","whois","--json"]'),
  });
};

const plainTransport: Check = (state) =>
  when(isOpenToNetwork(state) && !state.settings["gateway.tls.enabled"], {
    id: "tls.off-on-network",
    severity: "warn",
    what: "the gateway listens on the network without TLS",
    why: "tokens and everything that is said can be read on the way; bind to loopback and come through a tunnel, or give it a certificate",
    fix: set("gateway.bind", "loopback"),
  });

const execPolicy: Check = ({ settings }) =>
  when(settings["node.execPolicy"] === "full", {
    id: "node.exec-full",
    severity: "warn",
    what: "this machine's node runs any program that its gateway asks for",
    why: "whoever gets into the gateway as an operator has a shell here",
    fix: set("node.execPolicy", "allowlist"),
  });

/** Wrong attempts a minute beyond which the limit protects nothing that is short. */
const manyAttempts = 300;

const rateLimits: Check = ({ settings }) => {
  const max = settings["gateway.auth.rateLimit.maxAttempts"];
  const windowMs = settings["gateway.auth.rateLimit.windowMs"];
  const perMinute = (max * 60_000) / windowMs;
  return when(perMinute > manyAttempts, {
    id: "rate-limit.high",
    severity: "warn",
    what: `an address may try ${max} wrong credentials in ${windowMs} ms`,
    why: "a short password falls to so many guesses",
    fix: set("gateway.auth.rateLimit.maxAttempts", "20"),
  });
};

const checks: readonly Check[] = [
  withoutAuthentication,
  plainTransport,
  weakSecrets,
  openFiles,
  secretsInProductFile,
  loopbackEnrolment,
  loopbackProxy,
  wideProxies,
  proxyUsers,
  browserOrigins,
  insecureControlUi,
  powerfulServices,
  headlessServices,
  wideAutoApproval,
  autoApprovedProxies,
  tailscale,
  execPolicy,
  rateLimits,
];
