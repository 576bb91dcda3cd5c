/** The store: a durable change must cost the same with ten devices and with ten thousand. */
import { join } from "node:path";
import { approveDevices, askFor, type Book, openBook } from "./approved-devices.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import type { RawDevice } from "../test/support/raw-client.ts";

const fewDevices = 10;
const manyDevices = 10_000;
const rounds = 30;
const changesPerRound = 10;

/** Times of one change in milliseconds, through the gateway's own tables on a real file. */
interface Timings {
  readonly rotateMs: number;
  readonly approveMs: number;
}

export async function measureStore(): Promise<readonly Row[]> {
  using directory = temporaryDirectory();
  const fewPath = join(directory.path, "few.sqlite");
  const manyPath = join(directory.path, "many.sqlite");
  const someOfFew = await approveDevices(fewPath, fewDevices);
  const someOfMany = (await approveDevices(manyPath, manyDevices)).slice(0, fewDevices);
  await using few = await openBook(fewPath);
  await using many = await openBook(manyPath);
  const timings = await takeTurns(rounds, {
    few: () => timeChanges(few, someOfFew),
    many: () => timeChanges(many, someOfMany),
  });
  const row = (name: string, pick: (timing: Timings) => number) => {
    const fewMs = median((timings.get("few") ?? []).map(pick));
    const manyMs = median((timings.get("many") ?? []).map(pick));
    const detail = `${(fewMs * 1000).toFixed(0)} us with ${fewDevices} devices, ${(manyMs * 1000).toFixed(0)} us with ${manyDevices}`;
    return atMost(1.5, `store: durable ${name}, ${manyDevices} devices / ${fewDevices}`, manyMs / fewMs, detail);
  };
  return [row("token rotation", ({ rotateMs }) => rotateMs), row("approval", ({ approveMs }) => approveMs)];
}

const by = { connId: "bench", address: "127.0.0.1", name: "bench" };

async function timeChanges({ devices, tokens }: Book, known: readonly RawDevice[]): Promise<Timings> {
  const rotateMs: number[] = [];
  const approveMs: number[] = [];
  for (let change = 0; change < changesPerRound; change++) {
    const device = known[change % known.length];
    if (device === undefined) throw new Error("no devices to change");
    rotateMs.push(await timed(() => tokens.rotate(device.id, "node", undefined, by)));
    const asked = await devices.request(askFor(device, "operator"));
    approveMs.push(await timed(() => devices.approve(asked?.request.requestId ?? "", "owner", by, () => {})));
  }
  return { rotateMs: median(rotateMs), approveMs: median(approveMs) };
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}
