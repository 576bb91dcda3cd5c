/** The devices that a gateway remembers, read beside it: its store is not opened, and nothing is made or changed but a copy that goes again. */
import type { DeviceRecord } from "../../pairing/records.ts";
import { type CopyOptions, readDatabaseCopy } from "../../store/database-copy.ts";

/** Every device in the store at `path`; none where there is no store. Fails with `state-unreadable` or `locked`. */
export async function readStoredDevices(path: string, options: CopyOptions): Promise<readonly DeviceRecord[]> {
  const rows = await readDatabaseCopy(path, (ask) => ask("records", { collection: "devices" }), options);
  return (rows ?? []).map(({ value }): DeviceRecord => JSON.parse(String(value)));
}
