/** The key after all keys that begin with this id: where the next batch begins. */
export const after = (id: string): string => `${id}!`;

/** The items, of which the next one is asked for while the caller works on one. */
export async function* oneAhead<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (;;) {
      const item = await next;
      if (item.done === true) return;
      next = iterator.next();
      next.catch(() => undefined); // whoever asks for it gets the error
      yield item.value;
    }
  } finally {
    await iterator.return?.();
  }
}

/** Both results. When one fails, its error comes when the other has ended too. */
export async function together<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return [await one, await other];
}

/** The items in lists of at most `size`. */
export async function* batches<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
