/** `openclaw identity list` */
import type { Command } from "commander";
import { isFailure } from "../../../errors.ts";
import type { StoreName } from "../../../state/secret-store.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { describeIdentity, type IdentitySummary } from "../../identity-summary.ts";

type Listed = IdentitySummary & { readonly store: StoreName };
type Row = (Listed & { readonly source: string; readonly inUse: boolean }) | Unreadable;
interface Unreadable {
  readonly source: string;
  readonly inUse: boolean;
  readonly path: string;
  readonly problem: string;
}

export function listCommand(context: Context): Command {
  return defineCommand(
    "list",
    "the identities in the state directory: ours, those of a rotation under way, and the product's",
    ["openclaw identity list"],
  ).action(async () => {
    const rows = [...(await ownRow(context)), ...(await rotationRows(context)), ...(await productRow(context))];
    context.output.result({ identities: rows }, (value) => {
      if (value.identities.length === 0) return "No identity yet (openclaw identity create).";
      const columns = ["SOURCE", "DEVICE", "IN USE", "KEY IN", "FILE"].map((title) => ({
        title,
        keep: title === "DEVICE",
      }));
      const cells = value.identities.map((row) => [
        row.source,
        "deviceId" in row ? row.deviceId : row.problem,
        row.inUse ? "yes" : "no",
        "store" in row ? row.store : "",
        row.path,
      ]);
      return context.output.table(columns, cells);
    });
  });
}

async function ownRow(context: Context): Promise<readonly Row[]> {
  const path = context.paths().identity;
  return rowOf({ source: "toolkit", inUse: true, path }, async () => {
    const file = await context.identityFile();
    return file === undefined ? undefined : { ...describeIdentity(file.identity, path), store: file.store };
  });
}

/** While a rotation is under way there are two keys: some gateways know the one, some the other. */
async function rotationRows(context: Context): Promise<readonly Row[]> {
  const { identity, identityRotation } = context.paths();
  const { nextKeyPath, oldKeyPath, readRotation } = await import("../../../state/key-rotation.ts");
  const { readIdentityFile } = await import("../../../state/identity-file.ts");
  const place = { identity, rotation: identityRotation };
  const rotation = await readRotation(place);
  if (rotation === undefined) return [];
  const row = (source: string, path: string) =>
    rowOf({ source, inUse: true, path }, async () => {
      const file = await readIdentityFile(path);
      return file === undefined ? undefined : { ...describeIdentity(file.identity, path), store: file.store };
    });
  return [
    ...(await row("toolkit, after the rotation", nextKeyPath(place))),
    ...(await row("toolkit, before the rotation", oldKeyPath(place, rotation))),
  ];
}

async function productRow(context: Context): Promise<readonly Row[]> {
  const { product, toolkitDir } = context.paths();
  return rowOf({ source: "openclaw", inUse: false, path: product.identity }, async () => {
    const { readProductState } = await import("../../../state/product-state.ts");
    const state = await readProductState(product, { scratchDir: toolkitDir, runtime: context.runtime });
    return state === undefined ? undefined : { ...describeIdentity(state.identity, state.source.path), store: "file" };
  });
}

/** What cannot be read is a row that says so: the list is where one looks for the problem. */
async function rowOf(
  place: Omit<Unreadable, "problem">,
  read: () => Promise<Listed | undefined>,
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
