/**
 * `tls-pins.json`: what `--tls-accept-new` has found at gateways, by origin (`wss://host:port`). A certificate that nobody vouched for is
 * held to from then on; where an authority vouched for it, only authorities are believed from then on.
 */
import { OpenClawError } from "../errors.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { withLock } from "../store/lock.ts";

/** What holds for an origin. */
export interface AcceptedTrust {
  /** SHA-256 of the only certificate to accept, lower-case hex; without one the authorities decide. */
  readonly fingerprint?: string;
  readonly acceptedAtMs: number;
}

/** A certificate, and whether an authority vouches for it. */
interface Seen {
  readonly fingerprint: string;
  readonly isTrusted: boolean;
}

type PinFile = Readonly<Record<string, AcceptedTrust>>;

/** What was found at an origin before; undefined where nothing was. A file that is none of ours is `state-unreadable`. */
export async function acceptedTrust(path: string, origin: string): Promise<AcceptedTrust | undefined> {
  return (await readPins(path))[origin];
}

/**
 * Writes down what was seen at an origin first, and resolves with the pin that holds there: that of who came first, should two come at once.
 * Undefined where the authorities decide.
 */
export async function acceptFirst(
  path: string,
  origin: string,
  seen: Seen,
  runtime: Runtime,
): Promise<string | undefined> {
  const known = await acceptedTrust(path, origin);
  if (known !== undefined) return known.fingerprint;
  return change(
    path,
    origin,
    runtime,
    (before) => before ?? { ...(seen.isTrusted ? {} : pinOf(seen)), ...now(runtime) },
  );
}

/** Puts the certificate that a person has named in place of what was accepted before. */
export async function acceptInstead(
  path: string,
  origin: string,
  seen: Seen,
  runtime: Runtime,
): Promise<string | undefined> {
  const known = await acceptedTrust(path, origin);
  if (known?.fingerprint === seen.fingerprint) return known.fingerprint;
  return change(path, origin, runtime, () => ({ ...pinOf(seen), ...now(runtime) }));
}

function pinOf({ fingerprint }: Seen): Pick<AcceptedTrust, "fingerprint"> {
  return { fingerprint };
}

function now(runtime: Runtime): Pick<AcceptedTrust, "acceptedAtMs"> {
  return { acceptedAtMs: runtime.now() };
}

function change(
  path: string,
  origin: string,
  runtime: Runtime,
  decide: (before: AcceptedTrust | undefined) => AcceptedTrust,
): Promise<string | undefined> {
  return withLock(
    `${path}.lock`,
    async () => {
      const pins = await readPins(path);
      const before = pins[origin];
      const after = decide(before);
      if (after !== before) {
        const gateways = { ...pins, [origin]: after };
        await writeTextFile(path, `${JSON.stringify({ version: 1, gateways }, null, 2)}\n`);
      }
      return after.fingerprint;
    },
    { runtime },
  );
}

/** By hand: commands that look once should not load a validator for it. */
async function readPins(path: string): Promise<PinFile> {
  const text = await readTextFile(path);
  if (text === undefined) return {};
  const pins = pinsIn(text);
  if (pins !== undefined) return pins;
  throw new OpenClawError("state-unreadable", `${path} is not a file of accepted certificates`, {
    hint: "nothing was changed; restore it, or move it away to accept certificates anew",
    details: { path },
  });
}

function pinsIn(text: string): PinFile | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || !("version" in value) || value.version !== 1) return undefined;
    if (!("gateways" in value) || typeof value.gateways !== "object" || value.gateways === null) return undefined;
    const rows = Object.entries(value.gateways);
    return rows.every((row): row is [string, AcceptedTrust] => isTrust(row[1])) ? Object.fromEntries(rows) : undefined;
  } catch {
    return undefined;
  }
}

function isTrust(value: unknown): value is AcceptedTrust {
  if (typeof value !== "object" || value === null || !("acceptedAtMs" in value)) return false;
  const isPin = !("fingerprint" in value) || /^[0-9a-f]{64}$/u.test(String(value.fingerprint));
  return isPin && typeof value.acceptedAtMs === "number";
}
