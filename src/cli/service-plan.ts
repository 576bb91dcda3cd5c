/** From the options of `node install` to the service: what its manager starts, and the secrets that stand apart from it. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { assertSendable } from "../config/credentials.ts";
import { parseDuration } from "../config/duration.ts";
import { environmentHeaders, type Header, mergeHeaders, parseHeader, parseHeaderLines } from "../config/headers.ts";
import { read } from "../config/environment.ts";
import { secretVariables, type SecretVariables, withSecrets } from "../config/env-file.ts";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { ServiceSpec } from "../service/service-spec.ts";
import type { Context } from "./context.ts";
import type { NodeFlags } from "./node-options.ts";
import { envFileOf, finalExitCodes } from "./service-node.ts";

export interface ServicePlan {
  readonly spec: ServiceSpec;
  readonly secrets: SecretVariables;
  /** The gateway's URL, as it is at this moment. */
  readonly gateway: string;
}

/**
 * Plans the service `name`. Everything is checked that `node run` would check before it connects, in the environment that the service will
 * have, and fails as it would there.
 */
export async function planService(
  context: Context,
  name: string,
  command: Command,
  flags: NodeFlags,
): Promise<ServicePlan> {
  const given = await context.withEnvFile(flags.environmentFile);
  const secrets = await gatherSecrets(given, flags);
  const gateway = await checkAsNodeRun(
    given.inEnvironment(withSecrets(given.options.env, secrets)),
    withoutSecrets(flags),
  );
  const { stateDir, logDir } = context.paths();
  const envFile = envFileOf(context, name);
  const environment = carriedEnvironment(context, flags);
  const words = [
    `--service=${name}`,
    `--environment-file=${envFile}`,
    ...(await stateWords(context)),
    "--no-input",
    "--no-color",
    ...nodeWords(command),
  ];
  const { command: program, args } = context.launcher();
  const spec: ServiceSpec = {
    description: `OpenClaw node host (${name}) for ${gateway}`,
    command: [program, ...args, "node", "run", ...words],
    environment,
    withoutEnvironment: ourVariables.filter((variable) => !(variable in environment)),
    finalExitCodes,
    workingDirectory: context.options.env["HOME"] || homedir(),
    logPath: join(logDir, `${name}.log`),
    owner: { name, stateDir, envFile },
  };
  assertPrintable([...spec.command, ...Object.values(environment)]);
  return { spec, secrets, gateway };
}

/** Not carried along, and not inherited either: what the service is told is what it was installed with. */
const ourVariables: readonly string[] = [
  ...secretVariables,
  "OPENCLAW_STATE_DIR",
  "OPENCLAW_HOME",
  "OPENCLAW_PROFILE",
  "OPENCLAW_CONFIG_PATH",
  "OPENCLAW_GATEWAY_URL",
  "OPENCLAW_GATEWAY_PORT",
  "OPENCLAW_SECRET_STORE",
];

/** What comes from options, files, standard input and the environment, as the variables of an environment file. */
async function gatherSecrets(context: Context, flags: NodeFlags): Promise<SecretVariables> {
  const { env } = context.options;
  const pair =
    flags.pair === "-" && flags.pairFile === undefined
      ? await context.secretFile("-", "--pair-file")
      : await context.secretOption("pair", flags.pair, flags.pairFile);
  const code = pair?.reveal() ?? read(env, "OPENCLAW_PAIR_CODE");
  const token = await givenSecret(context, "token", flags.token, flags.tokenFile);
  const password = await givenSecret(context, "password", flags.password, flags.passwordFile);
  const headers = await gatherHeaders(context, flags);
  const isGiven = token !== undefined || password !== undefined;
  if (code !== undefined && isGiven) {
    throw new OpenClawError("usage", "a code stands in for token and password, and one of these is given beside it", {
      hint: "give the code alone",
    });
  }
  // A flag beats the environment, whichever of the two it is; a code is the only credential there is.
  const fromEnvironment = (variable: string) => (isGiven || code !== undefined ? undefined : read(env, variable));
  const found = {
    OPENCLAW_GATEWAY_TOKEN: token?.reveal() ?? fromEnvironment("OPENCLAW_GATEWAY_TOKEN"),
    OPENCLAW_GATEWAY_PASSWORD: password?.reveal() ?? fromEnvironment("OPENCLAW_GATEWAY_PASSWORD"),
    OPENCLAW_GATEWAY_HEADERS: headers.map(([name, value]) => `${name}: ${value.reveal()}`).join("\n") || undefined,
    OPENCLAW_PAIR_CODE: code,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

async function givenSecret(
  context: Context,
  kind: "token" | "password",
  value: string | undefined,
  file: string | undefined,
): Promise<Secret | undefined> {
  const name = file === undefined ? `--${kind}` : `--${kind}-file`;
  const secret = await context.secretOption(kind, value, file);
  if (secret !== undefined) assertSendable({ kind, from: "flag", name, value: secret, used: true });
  return secret;
}

async function gatherHeaders(context: Context, { header = [], headerFile }: NodeFlags): Promise<readonly Header[]> {
  if (header.length > 0) {
    context.noteOnce("argv-header", "warning: --header can be read by other users of this machine; use --header-file");
  }
  const text = await context.secretFile(headerFile, "--header-file");
  return mergeHeaders(
    header.map((line) => parseHeader(line, "--header")),
    text === undefined ? [] : parseHeaderLines(text.reveal(), "--header-file"),
    environmentHeaders(context.options.env),
  );
}

/** The options that the service is started with. */
function withoutSecrets({
  token: _token,
  tokenFile: _tokenFile,
  password: _password,
  passwordFile: _passwordFile,
  header: _header,
  headerFile: _headerFile,
  pair: _pair,
  pairFile: _pairFile,
  environmentFile: _environmentFile,
  ...flags
}: NodeFlags): NodeFlags {
  return flags;
}

/** The URL of the gateway that a node would go to. Nothing is said there yet, and no identity is made. */
async function checkAsNodeRun(context: Context, flags: NodeFlags): Promise<string> {
  const { findNodeGateway } = await import("./code-target.ts");
  const { readPolicy } = await import("./node-setup.ts");
  parseDuration(flags.approvalTimeout, "--approval-timeout");
  readPolicy(flags.execPolicy);
  for (const [name, file] of Object.entries(sshSecretFiles(flags))) {
    if (file !== "-") continue;
    throw new OpenClawError("usage", `${name} cannot read standard input for a service, which has none`, {
      hint: "name a file: the service reads it at each start",
    });
  }
  const { target } = await findNodeGateway(context, flags);
  const { address } = await context.target(target, { prefersRunning: false });
  if (flags.tunnel !== undefined) {
    const { readSshOptions } = await import("./ssh-options.ts");
    await readSshOptions(context, flags.tunnel, flags);
  }
  return address.url;
}

function sshSecretFiles({ sshPasswordFile, passphraseFile }: NodeFlags): Readonly<Record<string, string | undefined>> {
  return { "--ssh-password-file": sshPasswordFile, "--passphrase-file": passphraseFile };
}

/** Where its state is, whatever the environment of its manager says. */
async function stateWords(context: Context): Promise<readonly string[]> {
  const { stateDir, toolkitDir, config } = context.paths();
  const { choice, chosenBy } = await context.secretChoice();
  const isOrdered = chosenBy === "--secret-store" || chosenBy === "OPENCLAW_SECRET_STORE";
  return [
    `--state-dir=${stateDir}`,
    ...(config === join(toolkitDir, "config.json5") ? [] : [`--config=${config}`]),
    ...(isOrdered ? [`--secret-store=${choice}`] : []),
  ];
}

function carriedEnvironment(context: Context, flags: NodeFlags): Readonly<Record<string, string>> {
  const { env } = context.options;
  const isNamed = [flags.url, flags.host, flags.port].some((part) => part !== undefined);
  const found = {
    // What system.run looks programs up in: the manager's own has not what a login shell adds.
    PATH: read(env, "PATH"),
    NODE_EXTRA_CA_CERTS: absolute(read(env, "NODE_EXTRA_CA_CERTS")),
    OPENCLAW_CONFIG_PATH: absolute(read(env, "OPENCLAW_CONFIG_PATH")),
    OPENCLAW_GATEWAY_URL: isNamed ? undefined : read(env, "OPENCLAW_GATEWAY_URL"),
    OPENCLAW_GATEWAY_PORT: read(env, "OPENCLAW_GATEWAY_PORT"),
  };
  return Object.fromEntries(
    Object.entries(found).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** They stand in the environment file, or are about the install and not about the node. */
const notCarried: ReadonlySet<string> = new Set([
  "--token",
  "--token-file",
  "--password",
  "--password-file",
  "--header",
  "--header-file",
  "--pair",
  "--pair-file",
  "--environment-file",
  "--no-start",
]);

const withPaths: ReadonlySet<string> = new Set([
  "--identity-file",
  "--ssh-config",
  "--known-hosts",
  "--ssh-password-file",
  "--passphrase-file",
]);

/** The options of the node that were given, each as one word; paths no longer depend on where they were typed. */
function nodeWords(command: Command): readonly string[] {
  return command.options.flatMap((option): string[] => {
    const { long, hidden } = option;
    const name = option.attributeName();
    const isGiven = command.getOptionValueSource(name) === "cli" || long === "--approval-timeout";
    if (typeof long !== "string" || hidden || notCarried.has(long) || !isGiven) return [];
    const value: unknown = command.getOptionValue(name);
    if (typeof value === "boolean") return [long];
    return [value].flat().map((one) => `${long}=${withPaths.has(long) ? pathIn(long, String(one)) : String(one)}`);
  });
}

/** `none` is no path of an SSH configuration (ssh(1), -F). */
function pathIn(option: string, value: string): string {
  return option === "--ssh-config" && value === "none" ? value : resolve(value);
}

function absolute(path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(path);
}

/** Neither a unit nor an agent can hold every control character, and none of them belongs into an option. */
function assertPrintable(words: readonly string[]): void {
  const word = words.find((one) => /\p{Cc}/u.test(one));
  if (word === undefined) return;
  throw new OpenClawError("usage", `${JSON.stringify(word)} has a control character in it`, {
    hint: "leave it out: a service's file has one line for each setting",
  });
}
