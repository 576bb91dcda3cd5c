/** Which secret store this command line, its environment and its configuration ask for. */
import type { Config, Origin } from "../config/resolve.ts";
import type { Runtime } from "../runtime.ts";
import { SecretStore, type StoreChoice } from "../state/secret-store.ts";

/** Milliseconds that a keychain may take for one answer: it answers in five when it is open. A person may have to type a password into it. */
const deadlineMs = 5_000;
const deadlineWithPersonMs = 20_000;

export interface SecretSetup {
  /** `--secret-store`; commander has let only its words through. */
  readonly flag: string | undefined;
  readonly config: () => Promise<Config>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly canAsk: boolean;
  readonly signal: AbortSignal;
  readonly runtime: Runtime;
}

export function openSecretStore({ flag, config, env, canAsk, signal, runtime }: SecretSetup): SecretStore {
  return new SecretStore({
    choice: () => chosenStore(flag, config),
    keychain: async () => {
      const { OsKeychain } = await import("../state/keychain.ts");
      return new OsKeychain({ env, signal, deadlineMs: canAsk ? deadlineWithPersonMs : deadlineMs });
    },
    runtime,
  });
}

/** The choice, and what made it: the flag, else the environment, else the configuration. */
export async function chosenStore(
  flag: string | undefined,
  config: () => Promise<Config>,
): Promise<{ readonly choice: StoreChoice; readonly chosenBy: string }> {
  if (flag === "auto" || flag === "keychain" || flag === "file") return { choice: flag, chosenBy: "--secret-store" };
  const { settings, origins } = await config();
  return { choice: settings.secretStore, chosenBy: describe(origins.secretStore) };
}

function describe(origin: Origin | undefined): string {
  switch (origin?.from) {
    case "env":
      return origin.name;
    case "toolkit-config":
    case "product-config":
      return `secretStore in ${origin.path}`;
    case "flag":
    case "default":
    case undefined:
      return "the default";
  }
}
