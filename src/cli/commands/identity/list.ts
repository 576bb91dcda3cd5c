/** `openclaw identity list` */
import type { Command } from "commander";
import { isFailure } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity, type IdentitySummary } from "../../identity-summary.ts";

type Row = (IdentitySummary & { readonly source: string; readonly inUse: boolean }) | Unreadable;
interface Unreadable {
  readonly source: string;
  readonly inUse: boolean;
  readonly path: string;
  readonly problem: string;
}

export function listCommand(context: Context): Command {
  return defineCommand("list", "the identities in the state directory: ours, and the product's", [
    "openclaw identity list",
  ]).action(async () => {
    const rows = [...(await ownRow(context)), ...(await productRow(context))];
    context.output.result({ identities: rows }, (value) => {
      if (value.identities.length === 0) return "No identity yet (openclaw identity create).";
      const columns = ["SOURCE", "DEVICE", "IN USE", "FILE"].map((title) => ({ title, keep: title === "DEVICE" }));
      const cells = value.identities.map((row) => [
        row.source,
        "deviceId" in row ? row.deviceId : row.problem,
        row.inUse ? "yes" : "no",
        row.path,
      ]);
      return context.output.table(columns, cells);
    });
  });
}

async function ownRow(context: Context): Promise<readonly Row[]> {
  const path = context.paths().identity;
  return rowOf({ source: "toolkit", inUse: true, path }, async () => {
    const identity = await context.knownIdentity();
    return identity === undefined ? undefined : describeIdentity(identity, path);
  });
}

async function productRow(context: Context): Promise<readonly Row[]> {
  const { product, toolkitDir } = context.paths();
  return rowOf({ source: "openclaw", inUse: false, path: product.identity }, async () => {
    const { readProductState } = await import("../../../state/product-state.ts");
    const state = await readProductState(product, { scratchDir: toolkitDir, runtime: context.runtime });
    return state === undefined ? undefined : describeIdentity(state.identity, state.source.path);
  });
}

/** What cannot be read is a row that says so: the list is where one looks for the problem. */
async function rowOf(
  place: Omit<Unreadable, "problem">,
  read: () => Promise<IdentitySummary | undefined>,
): Promise<readonly Row[]> {
  try {
    const summary = await read();
    return summary === undefined ? [] : [{ ...place, ...summary }];
  } catch (error) {
    if (isFailure(error, "state-unreadable", "state-unwritable", "locked"))
      return [{ ...place, problem: error.message }];
    throw error;
  }
}
