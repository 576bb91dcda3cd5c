/** The versions of this run: all of them, unless `npm run interop -- --version V` asked for one. */
import { type Version, versions } from "./install.ts";

const wanted = process.env["OPENCLAW_INTEROP_VERSIONS"]?.split(",");

export const interopVersions: readonly Version[] = versions.filter((version) => wanted?.includes(version) ?? true);
