// Finished work in IndexedDB; in memory where the browser has none to give.

const MOST = 120;
let memory = null;
let nextId = 1;

const asPromise = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("overpaint", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("works", { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function store(mode) {
  return (await open()).transaction("works", mode).objectStore("works");
}

/** All works, the newest first. Whether they will be kept is `isKept()`. */
export async function all() {
  try {
    return (await asPromise((await store("readonly")).getAll())).reverse();
  } catch {
    memory ??= [];
    return [...memory].reverse();
  }
}

export const isKept = () => memory === null;

/** Keep a work; returns its id, and the ids of old ones that had to go. */
export async function add(work) {
  if (memory === null) {
    try {
      const id = await asPromise((await store("readwrite")).add(work));
      return { id, gone: await trim() };
    } catch {
      memory = [];
    }
  }
  const id = `memory-${nextId++}`;
  memory.push({ ...work, id });
  return { id, gone: [] };
}

export async function remove(id) {
  if (memory !== null) memory = memory.filter((work) => work.id !== id);
  else await asPromise((await store("readwrite")).delete(id));
}

async function trim() {
  const works = await store("readwrite");
  const keys = await asPromise(works.getAllKeys());
  const gone = keys.slice(0, Math.max(0, keys.length - MOST));
  for (const key of gone) works.delete(key);
  return gone;
}
