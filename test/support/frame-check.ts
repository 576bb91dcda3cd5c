/**
 * Which texts on the wire count, and whether they are what the product's schemas say. What our code sends always counts. What a test
 * sends counts when our side took it: a request when it was answered with ok, a response or an event when it is one. So whoever sends
 * something wrong to see it refused needs to say nothing about it here.
 */
import { at } from "./raw-client.ts";
import { asFrames } from "./rpc-frames.ts";
import { ours, theirs } from "./wire-deviations.ts";
import { type Finding, WireJudge } from "./wire-schemas.ts";
import type { WireEnd, WireText } from "./wire-watch.ts";

interface Request {
  readonly frame: unknown;
  /** Counted when it was sent, without waiting for the answer. */
  readonly hasCounted: boolean;
}

/** Of a frame that does not fit; some are of 25 MiB. */
const shownChars = 4000;

/** Holds texts to the schemas. Connections may go on from one call of `check` to the next. */
export class FrameCheck {
  readonly #ends = new WeakMap<WireEnd, EndCheck>();

  /** What does not fit and is not listed, by what is wrong with it. */
  check(texts: readonly WireText[]): ReadonlyMap<string, Finding> {
    const heard = new Set<EndCheck>();
    for (const said of texts) {
      const end = this.#endOf(said.end);
      end.hear(said);
      heard.add(end);
    }
    return new Map([...heard].flatMap((end) => end.takeFindings()));
  }

  #endOf(end: WireEnd): EndCheck {
    const known = this.#ends.get(end) ?? new EndCheck(end);
    this.#ends.set(end, known);
    return known;
  }
}

/** One line for each frame that does not fit and was not announced, and for each announcement that nothing came of. */
export function misfits(found: ReadonlyMap<string, Finding>, announced: ReadonlySet<string>): readonly string[] {
  const unannounced = [...found].filter(([what]) => !announced.has(what));
  const unfounded = [...announced].filter((what) => !found.has(what));
  return [
    ...unannounced.map(
      ([what, { schema, frame }]) => `${what} (${schema}): ${JSON.stringify(frame).slice(0, shownChars)}`,
    ),
    ...unfounded.map((what) => `announced, and did not happen: ${what}`),
  ];
}

class EndCheck {
  readonly #end: WireEnd;
  readonly #judge = new WireJudge();
  /** Requests that wait for their answers, by their ids; a careless client may use one twice. */
  readonly #requests = new Map<unknown, Request[]>();
  #version = "";

  constructor(end: WireEnd) {
    this.#end = end;
  }

  hear({ from, text }: WireText): void {
    for (const frame of asFrames(parse(text))) {
      if (from === "client") this.#hearClient(frame);
      else this.#hearGateway(frame);
    }
  }

  /** What is not listed for us, nor for the version that the gateway says it has. */
  takeFindings(): readonly (readonly [what: string, Finding])[] {
    const isListed = (what: string) => Object.hasOwn(ours, what) || Object.hasOwn(theirs[this.#version] ?? {}, what);
    const found = [...this.#judge.findings].filter(([what]) => !isListed(what));
    this.#judge.findings.clear();
    return found;
  }

  #hearClient(frame: unknown): void {
    const { side, owner } = this.#end;
    // A gateway of ours hears from a test's client until it is told otherwise; a test's gateway hears from ours.
    const hasCounted = side === "client" ? owner === "us" : owner !== "us";
    if (hasCounted) this.#judge.hear("", frame);
    if (at(frame, "type") !== "req") return;
    const id = at(frame, "id");
    this.#requests.set(id, [...(this.#requests.get(id) ?? []), { frame, hasCounted }]);
  }

  #hearGateway(frame: unknown): void {
    if (this.#isFromTest() && !isGatewayFrame(frame)) return; // our client does not take it for one either
    if (at(frame, "type") === "res") this.#hearAnswered(frame);
    this.#judge.hear("", frame);
  }

  /** True when a test's gateway may have said it. A client that has said nothing has taken nothing. */
  #isFromTest(): boolean {
    const { side, owner } = this.#end;
    return side === "client" ? owner !== "test" : owner !== "us";
  }

  #hearAnswered(response: unknown): void {
    const request = this.#requests.get(at(response, "id"))?.shift();
    if (request === undefined || at(response, "ok") !== true) return;
    if (!request.hasCounted) this.#judge.hear("", request.frame);
    if (at(request.frame, "method") === "connect") this.#version = String(at(response, "payload", "server", "version"));
  }
}

/** What no JSON is stays as it is: it is no frame either. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isGatewayFrame(frame: unknown): boolean {
  return (at(frame, "type") === "res" && typeof at(frame, "ok") === "boolean") || at(frame, "type") === "event";
}
