/** Every credential there is for a command, the strongest source first. Which of them are used is decided in `credentials.ts`. */
import { OpenClawError } from "../errors.ts";
import { Secret } from "../secret.ts";
import type { CredentialCandidate, GatewayChoice } from "./credentials.ts";
import { type Environment, read } from "./environment.ts";
import type { Config } from "./resolve.ts";
import { type Input, readSecretFile, readSecretFileIfThere } from "./secret-file.ts";
import type { TargetChoices } from "./target-choices.ts";

/** Flags, environment, the device's own token for this origin, files. Empty and unreadable ones are `usage`. */
export async function gatherCredentials(
  choices: TargetChoices,
  { origin, gateway }: { readonly origin: string; readonly gateway: GatewayChoice },
): Promise<CredentialCandidate[]> {
  return [
    ...(await flagCredentials(choices)),
    ...environmentCredentials(choices.env),
    ...(await deviceCredentials(choices, origin)),
    ...configCredentials(choices.config),
    ...(gateway === "local" ? await tokenFileCredentials(choices.config) : []),
  ];
}

async function flagCredentials({ flags, stdin }: TargetChoices): Promise<CredentialCandidate[]> {
  const files = {
    "--token-file": flags.tokenFile,
    "--password-file": flags.passwordFile,
    "--header-file": flags.headerFile,
  };
  const readers = Object.entries(files).flatMap(([name, path]) => (path === "-" ? [name] : []));
  if (readers.length > 1) {
    throw new OpenClawError("usage", `${readers.join(" and ")} cannot both read standard input`, {
      hint: "name a file for one of them",
    });
  }
  return [
    ...(await flagSecret("token", flags.token, flags.tokenFile, stdin)),
    ...(await flagSecret("password", flags.password, flags.passwordFile, stdin)),
  ];
}

async function flagSecret(
  kind: "token" | "password",
  given: string | undefined,
  file: string | undefined,
  stdin: Input | undefined,
): Promise<CredentialCandidate[]> {
  const [name, fileName] = [`--${kind}`, `--${kind}-file`];
  if (given !== undefined && file !== undefined) {
    throw new OpenClawError("usage", `${name} and ${fileName} contradict each other`, { hint: `keep ${fileName}` });
  }
  if (given === "") throw new OpenClawError("usage", `${name} is empty`, { hint: `use ${fileName}` });
  if (given !== undefined) return [{ kind, from: "flag", name, value: new Secret(given) }];
  if (file === undefined) return [];
  const value = await readSecretFile(file, stdin, fileName);
  return [{ kind, from: "flag", name: fileName, ...(file === "-" ? {} : { path: file }), value }];
}

function environmentCredentials(env: Environment): CredentialCandidate[] {
  const variables = { token: "OPENCLAW_GATEWAY_TOKEN", password: "OPENCLAW_GATEWAY_PASSWORD" } as const;
  return (["token", "password"] as const).flatMap((kind): CredentialCandidate[] => {
    const name = variables[kind];
    const value = read(env, name);
    return value === undefined ? [] : [{ kind, from: "env", name, value: new Secret(value) }];
  });
}

async function deviceCredentials({ deviceToken }: TargetChoices, origin: string): Promise<CredentialCandidate[]> {
  const stored = await deviceToken?.(origin);
  return stored === undefined ? [] : [{ kind: "device-token", from: "device", name: "this device's token", ...stored }];
}

/** What the files hold for the local and the remote gateway. Variables that override these keys were taken already. */
function configCredentials(config: Config): CredentialCandidate[] {
  const keys = [
    ["gateway.remote.token", "token", "remote"],
    ["gateway.remote.password", "password", "remote"],
    ["gateway.auth.token", "token", "local"],
    ["gateway.auth.password", "password", "local"],
  ] as const;
  return keys.flatMap(([name, kind, belongsTo]) =>
    config.sources(name).flatMap(({ value, origin }): CredentialCandidate[] => {
      if (origin.from !== "toolkit-config" && origin.from !== "product-config") return [];
      return [{ kind, from: origin.from, name, path: origin.path, value, belongsTo }];
    }),
  );
}

/** The token that our own gateway made for itself. */
async function tokenFileCredentials({ paths }: Config): Promise<CredentialCandidate[]> {
  const value = await readSecretFileIfThere(paths.gatewayToken, "the gateway's token");
  if (value === undefined) return [];
  const name = "the gateway's token file";
  return [
    {
      kind: "token",
      from: "token-file",
      name,
      path: paths.gatewayToken,
      value,
      belongsTo: "local",
    },
  ];
}
