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
    const { identity, product } = context.paths();
    const rows = [...(await rowOf("toolkit", identity, true)), ...(await rowOf("openclaw", product.identity, false))];
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

/** A file that cannot be read is a row that says so: the list is where one looks for the problem. */
async function rowOf(source: string, path: string, inUse: boolean): Promise<readonly Row[]> {
  const { readIdentity } = await import("../../../state/identity-file.ts");
  try {
    const identity = await readIdentity(path);
    return identity === undefined ? [] : [{ source, inUse, ...describeIdentity(identity, path) }];
  } catch (error) {
    if (isFailure(error, "state-unreadable")) return [{ source, inUse, path, problem: error.message }];
    throw error;
  }
}
