/** Which commands a node of a platform may offer at all, before anybody approves them (protocol.md § 7.4). */
import { normalise } from "../protocol/signed-payload.ts";

export interface CommandPolicy {
  /** Commands allowed on every platform besides its own list. */
  readonly allow: readonly string[];
  /** Commands never allowed; wins over everything. */
  readonly deny: readonly string[];
}

export interface DeclaredSurface {
  readonly caps: readonly string[];
  readonly commands: readonly string[];
  readonly permissions?: Readonly<Record<string, boolean>>;
}

const desktop = [
  "system.run",
  "system.run.prepare",
  "system.which",
  "system.info",
  "system.notify",
  "system.execApprovals.get",
  "system.execApprovals.set",
  "browser.proxy",
];
const device = [
  "canvas.present",
  "canvas.hide",
  "canvas.navigate",
  "canvas.snapshot",
  "camera.list",
  "location.get",
  "system.notify",
];

const byPlatform: ReadonlyMap<string, readonly string[]> = new Map([
  ["linux", desktop],
  ["windows", desktop],
  ["win32", desktop],
  ["macos", [...desktop, ...device]],
  ["darwin", [...desktop, ...device]],
  ["ios", device],
  ["android", device],
  ["watchos", ["system.notify"]],
]);

/** True when a node of this platform may be asked this at all. */
export function isAllowedCommand(command: string, platform: string | undefined, policy: CommandPolicy): boolean {
  if (policy.deny.includes(command)) return false;
  return (byPlatform.get(normalise(platform)) ?? device).includes(command) || policy.allow.includes(command);
}

/** What is left of a declared surface under the policy: everything outside it is dropped, which is not an error. */
export function allowedSurface(
  declared: DeclaredSurface,
  platform: string | undefined,
  policy: CommandPolicy,
): DeclaredSurface {
  const allowed = declared.commands.filter((command) => isAllowedCommand(command, platform, policy));
  return { ...declared, caps: [...new Set(declared.caps)].toSorted(), commands: [...new Set(allowed)].toSorted() };
}

/** True when `wanted` asks for nothing that `approved` lacks. */
export function coversSurface(approved: DeclaredSurface | undefined, wanted: DeclaredSurface): boolean {
  if (approved === undefined) return false;
  const granted = Object.entries(wanted.permissions ?? {}).filter(([, on]) => on);
  return (
    wanted.commands.every((command) => approved.commands.includes(command)) &&
    wanted.caps.every((cap) => approved.caps.includes(cap)) &&
    granted.every(([name]) => approved.permissions?.[name] === true)
  );
}

/** What a node may be asked now: declared, inside the policy, and approved. */
export function effectiveCommands(declared: DeclaredSurface, approved: DeclaredSurface | undefined): readonly string[] {
  return approved === undefined ? [] : declared.commands.filter((command) => approved.commands.includes(command));
}
