/** Where this machine's key and tokens are, and why there: what `identity show`, `identity list` and `node status` say of it. */
import { isFailure } from "../errors.ts";
import type { StoreName } from "../state/secret-store.ts";
import type { Context } from "./context.ts";

export interface SecretStatus {
  readonly store: StoreName;
  readonly why: string;
  /** How many device tokens are in each store: in one of them, unless a move was cut short. */
  readonly tokens: Readonly<Record<StoreName, number>>;
}

/** Undefined where there is no identity yet. Nothing is read but files. */
export async function secretStatus(context: Context): Promise<SecretStatus | undefined> {
  const file = await context.identityFile();
  if (file === undefined) return undefined;
  const tokens = await (await context.tokens()).count();
  return { store: file.store, why: await reasonFor(context, file.store), tokens };
}

/** `keychain (the key is there already, …)`. */
export function inWords({ store, why, tokens }: SecretStatus): string {
  const strays = store === "file" ? tokens.keychain : tokens.file;
  const rest = strays === 0 ? "" : `; ${strays} token${strays === 1 ? " is" : "s are"} still elsewhere`;
  return `${store} (${why}${rest})`;
}

async function reasonFor(context: Context, store: StoreName): Promise<string> {
  let chosen: Awaited<ReturnType<Context["secretChoice"]>>;
  try {
    chosen = await context.secretChoice();
  } catch (error) {
    // Where one looks for what is wrong, a broken configuration is no reason to say nothing.
    if (!isFailure(error)) throw error;
    return "the configuration cannot be read";
  }
  const { choice, chosenBy } = chosen;
  if (choice === store) return `${chosenBy} says so`;
  const already = "the key is there already, and auto moves nothing";
  if (choice === "auto" && store === "keychain") return already;
  if (choice === "auto") return `${already}; openclaw identity move --to keychain moves it`;
  return `the key was there before ${chosenBy} said ${choice}; openclaw identity move --to ${choice} moves it`;
}
