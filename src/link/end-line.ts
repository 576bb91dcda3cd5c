/**
 * What the two ends of a link and who joins them say to each other: lines of JSON over the standard input and output of a process on
 * either machine. Requests, rows and replies are those of a control socket; whatever else comes, such as a login shell's greeting, is
 * passed over. An end whose input is over has lost who joined it.
 */
import type { Readable, Writable } from "node:stream";
import { OpenClawError } from "../errors.ts";
import {
  type ControlReply,
  fromControlError,
  Lines,
  maxReplyBytes,
  maxRequestBytes,
  readReply,
  readRequest,
  toControlError,
} from "../tunnel/control-message.ts";

export type Params = Readonly<Record<string, unknown>>;
export type EndMethods = Readonly<Record<string, (params: Params, row: (row: object) => void) => Promise<object>>>;

/** One end, as seen by who joins the two. */
export interface EndLine extends AsyncDisposable {
  /** Asks one thing. Throws what the end failed with, `timeout` when it does not answer in time, and what ended the line. */
  ask(method: string, params?: Params, onRow?: (row: Params) => void): Promise<Params>;
  /** Resolves when the end is gone. */
  readonly closed: Promise<void>;
  readonly isOver: boolean;
  /** It has answered something: before that it has done nothing. */
  readonly hasSpoken: boolean;
  /** It ended without having been told to, or had to be killed: what it did is not taken back yet. */
  readonly isBroken: boolean;
}

export interface LineOptions {
  /** What stands in every line that is meant. */
  readonly nonce: string;
  /** Milliseconds within which a question has to be answered. */
  readonly patienceMs: number;
  /** True once the connection is lost that the streams are of. */
  readonly isCut?: () => boolean;
}

/** The two streams of a process, from outside. */
export interface EndStreams {
  readonly input: Writable;
  readonly output: Readable;
  /** What the process says to people. */
  readonly talk: Readable;
  /** Ends the process, if it does not end by itself. */
  readonly kill: () => void;
}

interface Waiting {
  readonly row: (row: Params) => void;
  readonly resolve: (result: Params) => void;
  readonly reject: (reason: unknown) => void;
}

const talkLimit = 2000;

/** A line to the end whose process has these streams. `where` is whose it is, for messages. */
export function openLine(
  { input, output, talk, kill }: EndStreams,
  where: string,
  { nonce, patienceMs, isCut = () => false }: LineOptions,
): EndLine {
  const waiting = new Map<number, Waiting>();
  const lines = new Lines(maxReplyBytes);
  const ended = Promise.withResolvers<void>();
  let said = "";
  let lastId = 0;
  let isOver = false;
  let isTold = false;
  let isBroken = false;
  let hasSpoken = false;

  const fail = (reason: unknown) => {
    for (const one of waiting.values()) one.reject(reason);
    waiting.clear();
  };
  const over = () => {
    if (isOver) return;
    isOver = true;
    isBroken ||= !isTold;
    // A lost connection is told after its channels are closed.
    setImmediate(() => {
      fail(isCut() ? wasCut(where) : hasEnded(where, said, hasSpoken));
      ended.resolve();
    });
  };
  const take = (reply: ControlReply | undefined) => {
    if (reply === undefined || reply.nonce !== nonce) return;
    hasSpoken = true;
    const one = waiting.get(reply.id);
    if (one === undefined) return;
    if ("row" in reply) return one.row({ ...reply.row });
    waiting.delete(reply.id);
    if (reply.ok) one.resolve({ ...reply.result });
    else one.reject(fromControlError({ ...reply.error, message: `${where}: ${reply.error.message}` }));
  };

  talk
    .on("error", () => {})
    .on("data", (chunk: Buffer) => {
      said = `${said}${chunk.toString("utf8")}`.slice(-talkLimit);
    });
  input.on("error", () => {});
  output
    .on("error", () => {})
    .on("data", (chunk: Buffer) => {
      try {
        for (const line of lines.push(chunk)) take(readReply(line));
      } catch (error) {
        fail(error);
        kill();
      }
    })
    .once("close", over);

  return {
    closed: ended.promise,
    get isOver() {
      return isOver;
    },
    get isBroken() {
      return isBroken;
    },
    get hasSpoken() {
      return hasSpoken;
    },
    ask(method, params = {}, onRow = () => {}) {
      const { promise, resolve, reject } = Promise.withResolvers<Params>();
      if (isOver) reject(new OpenClawError("failed", `the other half of this program is gone on ${where}`));
      else {
        const id = ++lastId;
        const timer = isLasting(method) ? undefined : setTimeout(() => reject(silent(where, patienceMs)), patienceMs);
        promise.then(
          () => clearTimeout(timer),
          () => clearTimeout(timer),
        );
        waiting.set(id, { row: onRow, resolve, reject });
        input.write(`${JSON.stringify({ id, nonce, method, params })}\n`);
      }
      return promise;
    },
    async [Symbol.asyncDispose]() {
      isTold = true;
      input.end();
      const timer = setTimeout(
        () => {
          isBroken = true;
          kill();
          // Whatever becomes of it, nobody waits for it any longer.
          setTimeout(over, afterKillMs);
        },
        // One that has said nothing has done nothing that it could take back.
        hasSpoken ? endGraceMs : 0,
      );
      await ended.promise;
      clearTimeout(timer);
    },
  };
}

/** An end that is told to go takes back what it did first, which needs its gateway. */
const endGraceMs = 10_000;
const afterKillMs = 1_000;

/** A node serves for as long as its link is up. */
function isLasting(method: string): boolean {
  return method === "serve";
}

function silent(where: string, timeoutMs: number): OpenClawError {
  return new OpenClawError("timeout", `the other half of this program does not answer on ${where}`, {
    hint: "does the command start openclaw there, and does its gateway answer? try it by hand, or wait longer with --timeout",
    details: { where, timeoutMs },
  });
}

function wasCut(where: string): OpenClawError {
  return new OpenClawError("ssh", `the SSH connection to ${where} was lost`, {
    hint: "run it again when the network is back",
    details: { where },
  });
}

/** One that has never spoken may not have been started at all. */
function hasEnded(where: string, said: string, hasSpoken: boolean): OpenClawError {
  return new OpenClawError("failed", `the other half of this program ended on ${where}${lastWords(said)}`, {
    ...(hasSpoken ? {} : { hint: "openclaw must be on the PATH there, or named with --remote-openclaw" }),
    details: { where },
  });
}

function lastWords(said: string): string {
  const lines = said
    .trim()
    .split("\n")
    .map((line) => line.trim());
  // The hint of an error stands below it.
  const line = lines.findLast((one) => one !== "" && !/^(?:hint|run): /u.test(one)) ?? "";
  return line === "" ? "" : `: ${line}`;
}

/** Answers until the input is over, then resolves. Requests are served side by side. */
export async function serveLine(
  input: AsyncIterable<string | Buffer>,
  output: Writable,
  methods: EndMethods,
): Promise<void> {
  const lines = new Lines(maxRequestBytes);
  const answer = async (line: string) => {
    const request = readRequest(line);
    if (request === undefined) return;
    const to = { id: request.id, nonce: request.nonce };
    const send = (reply: ControlReply) => {
      if (output.writable) output.write(`${JSON.stringify(reply)}\n`);
    };
    try {
      const method = Object.hasOwn(methods, request.method) ? methods[request.method] : undefined;
      if (method === undefined) {
        throw new OpenClawError("incompatible", `openclaw does not know "${request.method}" here`, {
          hint: "use the same version on both machines",
        });
      }
      send({ ...to, ok: true, result: await method(request.params, (row) => send({ ...to, row })) });
    } catch (error) {
      send({ ...to, ok: false, error: toControlError(error) });
    }
  };
  output.on("error", () => {});
  for await (const chunk of input) for (const line of lines.push(Buffer.from(chunk))) void answer(line);
}
