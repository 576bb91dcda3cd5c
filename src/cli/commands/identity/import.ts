/** `openclaw identity import` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Replaced } from "../../../state/identity-file.ts";
import type { ProductState, ProductToken } from "../../../state/product-state.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity, type IdentitySummary } from "../../identity-summary.ts";

interface ImportFlags {
  readonly url?: string;
  readonly force?: boolean;
}

/** A token of the product's, as the answer shows it. */
interface ImportedToken {
  readonly gateway: string;
  readonly role: string;
  readonly scopes: readonly string[];
  readonly digest: string;
  readonly updatedAtMs: number;
  /** False when we hold a token of this gateway that is newer. */
  readonly used: boolean;
}

interface Imported extends IdentitySummary {
  readonly source: ProductState["source"];
  readonly tokens: readonly ImportedToken[];
  readonly replaced?: Replaced;
}

export function importCommand(context: Context): Command {
  return defineCommand("import", "use the product's key and device tokens; its own files are only read", [
    "openclaw identity import --from-openclaw",
    "openclaw identity import --from-openclaw --url wss://gateway.example:443",
  ])
    .requiredOption("--from-openclaw", "from what the product keeps in the state directory: JSON files or its database")
    .option("--url <url>", "the gateway that issued the tokens (default: the one that the product is set up for)")
    .option("--force", "put it in the place of an identity that is there already, whose file is kept beside it")
    .action(async (flags: ImportFlags) => {
      context.output.result(await takeOver(context, flags), inWords);
      context.output.note(
        "The product and this program are now one device to a gateway: run the node of one of them, and rotate with the one that runs.",
      );
    });
}

async function takeOver(context: Context, { url, force = false }: ImportFlags): Promise<Imported> {
  const { adoptIdentity } = await import("../../../state/identity-file.ts");
  const { identity: path } = context.paths();
  const { identity, source, ...state } = await productState(context);
  // Before anything is written: a token whose gateway nobody names ends it here.
  const filed = await Promise.all(
    state.tokens.map(async (token) => ({ token, gateway: await gatewayOf(context, state, token.role, url) })),
  );
  const replaced = await adoptIdentity(path, identity, {
    replace: force,
    runtime: context.runtime,
    secrets: await context.secrets(),
  });
  const tokens: ImportedToken[] = [];
  for (const { token, gateway } of filed) {
    tokens.push(await importToken(context, identity.deviceId, gateway, token));
  }
  return { ...describeIdentity(identity, path), source, tokens, ...(replaced === undefined ? {} : { replaced }) };
}

function inWords({ deviceId, source, tokens, replaced }: Imported): string {
  return [
    `Imported device ${deviceId} from ${source.path}`,
    ...tokens.map(({ gateway, role, digest, used }) => {
      const what = used ? digest : "kept the newer one that is here already";
      return `${role} token of ${gateway}  ${what}`;
    }),
    ...(replaced === undefined ? [] : [`The identity ${replaced.deviceId} is now in ${replaced.path}`]),
  ].join("\n");
}

async function productState(context: Context): Promise<ProductState> {
  const { readProductState } = await import("../../../state/product-state.ts");
  const { product, toolkitDir, stateDir } = context.paths();
  const state = await readProductState(product, { scratchDir: toolkitDir, runtime: context.runtime });
  if (state !== undefined) return state;
  throw new OpenClawError("not-found", `the product has no identity in ${stateDir}`, {
    hint: "it makes one at its first connection; give its state directory with --state-dir if it is another one",
    details: { looked: [product.database, product.identity] },
  });
}

/** Whose token it is: the product files one for each role, and its node, or its configuration, names the gateway. */
async function gatewayOf(
  context: Context,
  { nodeGateway }: Pick<ProductState, "nodeGateway">,
  role: string,
  url: string | undefined,
): Promise<string> {
  const { originOf } = await import("../../../client/open-session.ts");
  if (role === "node" && nodeGateway !== undefined && url === undefined) return originOf(nodeGateway);
  const { chooseUrl } = await import("../../../config/choose-url.ts");
  const { formatGatewayUrl } = await import("../../../config/gateway-url.ts");
  const { env } = context.options;
  const chosen = chooseUrl({ flags: url === undefined ? {} : { url }, env, config: await context.config() });
  return originOf(formatGatewayUrl(chosen.url));
}

async function importToken(
  context: Context,
  deviceId: string,
  gateway: string,
  { role, token, scopes, updatedAtMs }: ProductToken,
): Promise<ImportedToken> {
  const memory = await context.tokens();
  const key = { gateway, deviceId, role };
  const known = await memory.recall(key);
  const used = known === undefined || known.updatedAtMs <= updatedAtMs;
  if (used) await memory.remember(key, { token, scopes, updatedAtMs });
  return { gateway, role, scopes, digest: token.digest(), updatedAtMs, used };
}
