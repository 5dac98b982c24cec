/** Tables of another process: requests and answers are messages between a parent and its child. */
import type { ChildProcess } from "node:child_process";
import { StoreError, type StoreErrorKind, type Tables } from "../src/engine/ports/tables.ts";

interface Request {
  readonly id: number;
  readonly method: keyof Tables;
  readonly args: readonly never[];
}

type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failed: { readonly kind: StoreErrorKind; readonly message: string } };

/** Answers the child from `tables`. @param ended is given what the child says in the end */
export function serveTables(child: ChildProcess, tables: Tables, ended: (result: unknown) => void): void {
  child.on("message", async (message: Request | { readonly result: unknown }) => {
    if ("result" in message) return ended(message.result);
    const { id, method, args } = message;
    try {
      child.send({ id, value: await (tables[method] as (...all: readonly never[]) => unknown)(...args) });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      child.send({ id, failed: { kind: error.kind, message: error.message } });
    }
  });
}

/** Those that the parent of this process serves. */
export function tablesOfParent(): Tables {
  const waiting = new Map<number, (answer: Answer) => void>();
  let ids = 0;
  process.on("message", (answer: Answer) => {
    waiting.get(answer.id)!(answer);
    waiting.delete(answer.id);
  });
  const ask =
    <M extends keyof Tables>(method: M) =>
    (...args: Parameters<Tables[M]>): Promise<never> =>
      new Promise((resolve, reject) => {
        const id = ++ids;
        waiting.set(id, (answer) =>
          "failed" in answer
            ? reject(new StoreError(answer.failed.kind, answer.failed.message))
            : resolve(answer.value as never),
        );
        process.send!({ id, method, args });
      });
  return { get: ask("get"), query: ask("query"), transact: ask("transact") };
}
