/** What a service of ours is, whichever program keeps it running, and the mark by which its file is known to be ours. */

export interface ServiceSpec {
  readonly description: string;
  /** The program, by its absolute path, and its arguments. No secret. */
  readonly command: readonly [program: string, ...words: string[]];
  /** Set for the service whatever its manager's own environment has. No secret. */
  readonly environment: Readonly<Record<string, string>>;
  /** Variables that it must not inherit. */
  readonly withoutEnvironment: readonly string[];
  /** Exit codes after which another start would only end the same way. */
  readonly finalExitCodes: readonly number[];
  readonly workingDirectory: string;
  /** Where a manager without a log of its own puts what the service says on stderr. */
  readonly logPath: string;
  readonly owner: ServiceOwner;
}

/** Who a service's file belongs to. */
export interface ServiceOwner {
  /** The service's own name: `node`, `node-cloud`. */
  readonly name: string;
  readonly stateDir: string;
  /** The 0600 file that has its secrets. */
  readonly envFile: string;
}

const mark = "openclaw-service ";

/** The mark, for a comment of a unit or of an XML file, where two hyphens may not follow one another (XML 1.0 § 2.5). */
export function ownerMark({ name, stateDir, envFile }: ServiceOwner): string {
  return mark + JSON.stringify({ version: 1, name, stateDir, envFile }).replaceAll("--", String.raw`-\u002d`);
}

/** Who wrote a unit or agent, or undefined when it was not us. */
export function ownerOf(text: string): ServiceOwner | undefined {
  for (const line of text.split("\n", maxMarkLines)) {
    const at = line.indexOf(mark);
    const owner = at < 0 ? undefined : readOwner(line.slice(at + mark.length));
    if (owner !== undefined) return owner;
  }
  return undefined;
}

/** It stands at the top, behind what an XML file must begin with. */
const maxMarkLines = 5;

function readOwner(text: string): ServiceOwner | undefined {
  try {
    const value: unknown = JSON.parse(text.slice(0, text.lastIndexOf("}") + 1));
    if (typeof value !== "object" || value === null) return undefined;
    const { name, stateDir, envFile }: Partial<Record<keyof ServiceOwner, unknown>> = value;
    if (typeof name !== "string" || typeof stateDir !== "string" || typeof envFile !== "string") return undefined;
    return { name, stateDir, envFile };
  } catch {
    return undefined;
  }
}
