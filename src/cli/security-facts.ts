/** What `security audit` looks at besides the settings: files and their permissions, the gateway's own token, programs. */
import { access, constants, readdir, readFile, stat } from "node:fs/promises";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import type { Config } from "../config/resolve.ts";
import type { AuditedState, FileFacts } from "../config/security-audit.ts";
import { type SettingKey, settingKeys } from "../config/settings.ts";
import { Secret } from "../secret.ts";
import { readGatewayToken } from "../state/gateway-secrets.ts";

/** Gathers the facts; a file that is missing is left out. */
export async function gatherSecurityFacts(config: Config, searchPath: string | undefined): Promise<AuditedState> {
  const { settings, paths } = config;
  const [program = "tailscale"] = settings["gateway.tailscale.whoisCommand"] ?? [];
  return {
    settings,
    ownToken: await readGatewayToken(paths.gatewayToken),
    files: await auditedFiles(config),
    hasTailscale: await isProgram(program, searchPath),
  };
}

async function auditedFiles(config: Config): Promise<readonly FileFacts[]> {
  const { paths } = config;
  const { stateDir, toolkitDir, product } = paths;
  const keys = [
    paths.identity,
    paths.identityRotation,
    paths.deviceTokens,
    paths.gatewayToken,
    paths.internalSecret,
    paths.deviceTokenKey,
    paths.tunnelKey,
    product.identity,
    product.deviceTokens,
    config.settings["gateway.tls.keyPath"],
    ...(await filesIn(paths.serviceDir)),
  ].filter((path) => path !== undefined);
  const records = [
    paths.database,
    `${paths.database}-wal`,
    paths.execApprovals,
    paths.node,
    paths.tlsPins,
    product.database,
    ...(await filesIn(paths.linkDir)),
  ];
  const directories = [stateDir, toolkitDir, dirname(paths.identity), paths.runDir];
  const facts = await Promise.all([
    ...directories.map((path) => factsOf(path, "directory")),
    ...keys.map((path) => factsOf(path, "key")),
    ...records.map((path) => factsOf(path, "records")),
    factsOf(paths.config, "config", secretsIn(config, paths.config)),
    factsOf(product.config, "product", secretsIn(config, product.config)),
  ]);
  return facts.filter((one) => one !== undefined);
}

async function factsOf(
  path: string,
  kind: FileFacts["kind"],
  secrets: Promise<readonly SettingKey[]> = Promise.resolve([]),
): Promise<FileFacts | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  const user = process.getuid?.();
  const isOwn = user === undefined || found.uid === user;
  return { path, kind, mode: found.mode & 0o777, isOwn, secrets: await secrets };
}

/** The settings whose secret stands in the file itself, and not only a reference to it. */
async function secretsIn(config: Config, path: string): Promise<readonly SettingKey[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  return settingKeys.filter((key) => secretsOf(config.settings[key]).some((secret) => text.includes(secret.reveal())));
}

function secretsOf(value: unknown): readonly Secret[] {
  if (value instanceof Secret) return [value];
  return Array.isArray(value) ? value.flatMap((one: unknown) => secretsOf(one)) : [];
}

async function filesIn(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => name.endsWith(".json")).map((name) => join(directory, name));
}

async function isProgram(name: string, searchPath = ""): Promise<boolean> {
  const places = isAbsolute(name) ? [name] : searchPath.split(delimiter).map((directory) => join(directory, name));
  const found = await Promise.all(
    places.map((place) =>
      access(place, constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}
