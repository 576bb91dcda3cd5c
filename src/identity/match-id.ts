/** Which of several things a person means: the full id, a unique prefix of at least 6 characters, or a unique name. */
import { OpenClawError } from "../errors.ts";

/** Fewer characters would match by accident too easily. */
const minPrefixLength = 6;

export interface Named {
  readonly id: string;
  /** Further ids that mean the same thing, such as the device id of a request. */
  readonly alsoIds?: readonly string[];
  readonly names: readonly string[];
}

/**
 * The one candidate that `wanted` means. Throws `not-found`, or `ambiguous` with the candidates in `details`;
 * `kind` ("device", "request", "node") names the thing in the message and `listCommand` where to look.
 */
export function matchId<T extends Named>(
  wanted: string,
  candidates: readonly T[],
  kind: string,
  listCommand: string,
): T {
  const idsOf = ({ id, alsoIds = [] }: Named) => [id, ...alsoIds];
  const isLongEnough = wanted.length >= minPrefixLength;
  const itself = candidates.filter(({ id }) => id === wanted);
  const exact = candidates.filter((candidate) => idsOf(candidate).includes(wanted));
  const byName = candidates.filter(({ names }) => names.includes(wanted));
  const startsHere = (id: string) => isLongEnough && id.startsWith(wanted.toLowerCase());
  const byPrefix = candidates.filter((candidate) => idsOf(candidate).some(startsHere));
  const found = [itself, exact, byName, byPrefix].find((matches) => matches.length > 0) ?? [];
  const [only, ...others] = found;
  if (only === undefined) {
    const tooShort = wanted.length < minPrefixLength ? ` (a prefix needs at least ${minPrefixLength} characters)` : "";
    throw new OpenClawError("not-found", `no ${kind} "${wanted}" here${tooShort}`, {
      hint: `${listCommand} shows what there is`,
      fix: listCommand,
      details: { wanted },
    });
  }
  if (others.length > 0) {
    const list = found.map(({ id, names }) => (names[0] === undefined ? id : `${id} (${names[0]})`));
    throw new OpenClawError("ambiguous", `"${wanted}" means ${found.length} ${kind}s: ${list.join(", ")}`, {
      hint: "give more of the id",
      details: { wanted, candidates: found.map(({ id }) => id) },
    });
  }
  return only;
}
