/** Every path this program uses, computed here and nowhere else. */
import { join, resolve } from "node:path";
import { OpenClawError } from "../errors.ts";
import { type Environment, read } from "./environment.ts";

export interface PathChoices {
  readonly env: Environment;
  /** The user's home directory, where there is one. */
  readonly home?: string | undefined;
  /** What relative paths start from; the process's own directory unless told. */
  readonly cwd?: string | undefined;
  /** `--state-dir` */
  readonly stateDir?: string | undefined;
  /** `--profile` */
  readonly profile?: string | undefined;
  /** `--config` */
  readonly config?: string | undefined;
}

export interface StatePaths {
  readonly stateDir: string;
  /** Everything we write is below this directory: the product may live in `stateDir` too. */
  readonly toolkitDir: string;
  readonly config: string;
  readonly identity: string;
  /** What an `identity rotate` has done so far, while it is not over. */
  readonly identityRotation: string;
  readonly deviceTokens: string;
  /** The certificates that were accepted when they were first seen. */
  readonly tlsPins: string;
  readonly database: string;
  readonly gatewayToken: string;
  readonly internalSecret: string;
  /** The key that the gateway derives device tokens with. */
  readonly deviceTokenKey: string;
  /** The private SSH key that `tunnel key` makes when none is named. */
  readonly tunnelKey: string;
  readonly node: string;
  readonly execApprovals: string;
  /** What this machine knows of the gateways it is linked with, one file for each. */
  readonly linkDir: string;
  /** Control sockets and records of what is running. */
  readonly runDir: string;
  readonly logDir: string;
  /** What the services of this machine's service manager need, and what they say of themselves. */
  readonly serviceDir: string;
  /** The product's own files: read where that helps, never written. */
  readonly product: {
    readonly config: string;
    /** Where newer versions keep what older ones have in the three files below. */
    readonly database: string;
    readonly identity: string;
    readonly deviceTokens: string;
    readonly node: string;
  };
}

/**
 * All paths for these choices. The state directory is `--state-dir`, else OPENCLAW_STATE_DIR, else `.openclaw` in OPENCLAW_HOME or
 * the home directory; a profile adds `-<name>` to it. Without any of them, and for a profile that is no plain name: `usage`.
 */
export function statePaths(choices: PathChoices): StatePaths {
  const { env } = choices;
  const stateDir = profiled(baseDir(choices), filled(choices.profile) ?? read(env, "OPENCLAW_PROFILE"));
  const toolkitDir = join(stateDir, "toolkit");
  const ownConfig = filled(choices.config);
  const productConfig = read(env, "OPENCLAW_CONFIG_PATH");
  return {
    stateDir,
    toolkitDir,
    config: ownConfig === undefined ? join(toolkitDir, "config.json5") : absolute(ownConfig, choices),
    identity: join(toolkitDir, "identity", "device.json"),
    identityRotation: join(toolkitDir, "identity", "rotation.json"),
    deviceTokens: join(toolkitDir, "identity", "device-tokens.json"),
    tlsPins: join(toolkitDir, "tls-pins.json"),
    database: join(toolkitDir, "gateway.db"),
    gatewayToken: join(toolkitDir, "gateway-token"),
    internalSecret: join(toolkitDir, "internal-secret"),
    deviceTokenKey: join(toolkitDir, "device-token-key"),
    tunnelKey: join(toolkitDir, "identity", "tunnel_ed25519"),
    node: join(toolkitDir, "node.json"),
    execApprovals: join(toolkitDir, "exec-approvals.json"),
    linkDir: join(toolkitDir, "links"),
    runDir: join(toolkitDir, "run"),
    logDir: join(toolkitDir, "logs"),
    serviceDir: join(toolkitDir, "services"),
    product: {
      config: productConfig === undefined ? join(stateDir, "openclaw.json") : absolute(productConfig, choices),
      database: join(stateDir, "state", "openclaw.sqlite"),
      identity: join(stateDir, "identity", "device.json"),
      deviceTokens: join(stateDir, "identity", "device-auth.json"),
      node: join(stateDir, "node.json"),
    },
  };
}

function baseDir(choices: PathChoices): string {
  const chosen = filled(choices.stateDir) ?? read(choices.env, "OPENCLAW_STATE_DIR");
  if (chosen !== undefined) return absolute(chosen, choices);
  const home = read(choices.env, "OPENCLAW_HOME") ?? filled(choices.home);
  if (home !== undefined) return join(absolute(home, choices), ".openclaw");
  throw new OpenClawError("usage", "there is no home directory to keep the state in", {
    hint: "set OPENCLAW_STATE_DIR, or give --state-dir <directory>",
  });
}

function profiled(dir: string, profile: string | undefined): string {
  if (profile === undefined) return dir;
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(profile)) {
    throw new OpenClawError("usage", `${JSON.stringify(profile)} cannot be the name of a profile`, {
      hint: "use up to 64 letters, digits, - and _, beginning with a letter or digit",
    });
  }
  // The product hands its children OPENCLAW_PROFILE together with the directory that already ends in it.
  return dir.endsWith(`-${profile}`) ? dir : `${dir}-${profile}`;
}

/** `~/` is the shell's business, but unit files and .env files have no shell. */
function absolute(path: string, { cwd, home }: PathChoices): string {
  const at = filled(home);
  const expanded = at !== undefined && (path === "~" || path.startsWith("~/")) ? join(at, path.slice(1)) : path;
  return resolve(cwd ?? "", expanded);
}

function filled(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
