/** `system.info`: what machine this is. Ours; the product has no such command. */
import { arch, cpus, freemem, hostname, loadavg, platform, release, totalmem, uptime, userInfo } from "node:os";
import type { InvokeHandler } from "./invoke.ts";

/** What `system.info` answers. `loadAverage` is over 1, 5 and 15 minutes, zeros on Windows. */
interface SystemInfo {
  readonly displayName?: string;
  readonly hostname: string;
  readonly platform: string;
  readonly arch: string;
  readonly osRelease: string;
  readonly nodeVersion: string;
  readonly uptimeMs: number;
  readonly cpuCount: number;
  readonly loadAverage: readonly number[];
  readonly memoryTotalBytes: number;
  readonly memoryFreeBytes: number;
  readonly user?: string;
}

/** Answers a `SystemInfo`. */
export function systemInfo(displayName: string | undefined): InvokeHandler {
  return async (): Promise<SystemInfo> => ({
    ...(displayName === undefined ? {} : { displayName }),
    hostname: hostname(),
    platform: platform(),
    arch: arch(),
    osRelease: release(),
    nodeVersion: process.versions.node,
    uptimeMs: Math.round(uptime() * 1000),
    cpuCount: cpus().length,
    loadAverage: loadavg(),
    memoryTotalBytes: totalmem(),
    memoryFreeBytes: freemem(),
    ...currentUser(),
  });
}

function currentUser(): { user?: string } {
  try {
    return { user: userInfo().username };
  } catch {
    return {}; // a user id without an entry in the user database, as in many containers
  }
}
