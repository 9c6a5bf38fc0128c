"""One sync: both sides are read and joined, each key is decided, transfers run meanwhile, deletions come last."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from cosxfer.address import shown_key
from cosxfer.cos.identifiers import check_key
from cosxfer.cos.key_paths import KeyPaths
from cosxfer.engine.report import logger
from cosxfer.errors import CosxferError
from cosxfer.ops.session import Session
from cosxfer.sorted_tree import Entry
from cosxfer.sync.backup import Backups
from cosxfer.sync.checksums import Checksums, Pair
from cosxfer.sync.compare import SOURCE, TARGET, MergeJoin, Row
from cosxfer.sync.events import Events
from cosxfer.sync.moving import Copy, Mover, UploadFiles, exists_already, side_name
from cosxfer.sync.options import SyncOptions
from cosxfer.sync.progress import OnProgress, TotalProgress
from cosxfer.sync.records import MAX_FAILURES, SyncAction, SyncEvent, SyncResult
from cosxfer.sync.removal import Candidates, Remover
from cosxfer.sync.rules import Verdict
from cosxfer.sync.sides import Ahead, Blocks, BucketReader, OnePath, local_blocks, named_blocks
from cosxfer.targets import folds_case, make_folders
from cosxfer.tasks.downloads import Downloads
from cosxfer.threads import Workers, finished, in_thread

CHECKED_AT_ONCE = 500

LATE = "the source has it, although its listing does not show it yet"


class SyncRun:
    """One run."""

    def __init__(
        self,
        options: SyncOptions,
        session: Session,
        executor: Workers,
        checksums: Checksums,
        *,
        upload_files: UploadFiles,
        downloads: Downloads,
        copy: Copy,
        events: Events,
        on_progress: OnProgress,
    ) -> None:
        self._options = options
        self._session = session
        self._executor = executor
        self._checksums = checksums
        self._events = events
        self._progress = TotalProgress(on_progress)
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._failures: list[SyncEvent] = []
        self._source_seen = False
        self._undecided: dict[Verdict, list[Pair]] = {
            verdict: [] for verdict in (Verdict.CHECK, Verdict.RECALL, Verdict.NEWER)
        }
        self._folders: list[bytes] = []
        self._candidates = Candidates(executor)
        backups = Backups(options, executor, copy)
        self._remover = Remover(options, session, executor, backups)
        self._mover = Mover(
            options,
            checksums,
            executor,
            upload_files=upload_files,
            downloads=downloads,
            copy=copy,
            backups=backups,
            on_outcome=self._transferred,
            on_progress=self._progress.part,
        )

    async def run(self) -> SyncResult:
        """Run it. Raises `SourceError` if the source folder cannot be opened."""
        began = time.monotonic()
        try:
            await self._compare()
            await self._check()
            await self._mover.finish()
            await self._delete()
            await self._checksums.written()
            await self._events.delivered()
        finally:
            await self._mover.aclose()
            await self._candidates.aclose()
        self._events.after_all(self._progress.finish)
        await finished(in_thread(self._executor.waiting, self._warn_of_rules))
        return SyncResult(
            transferred=self._counts["transferred"],
            transferred_bytes=self._bytes,
            unchanged=self._counts["unchanged"],
            skipped=self._counts["skipped"],
            unknown=self._counts["unknown"],
            deleted=self._counts["deleted"],
            kept=self._counts["kept"],
            failed=self._counts["failed"],
            failures=tuple(self._failures),
            seconds=time.monotonic() - began,
            dry_run=self._options.dry_run,
        )

    # -- comparing ----------------------------------------------------------------------------------------------------

    async def _compare(self) -> None:
        join = MergeJoin()
        sides = await self._sides()
        try:
            while not join.ended:
                wanted = join.wanted()
                for side, block in zip(wanted, await asyncio.gather(*[sides[n].next() for n in wanted]), strict=True):
                    self._source_seen = self._source_seen or (side == SOURCE and bool(block))
                    join.feed(side, block)
                await self._take(join.rows())
                for entry in join.found_unknown:
                    self._failed("list", entry[0], entry[3].error)
                join.found_unknown.clear()
                await self._make_folders()
                await self._events.delivered()
        finally:
            for reader in sides:
                await reader.aclose()

    async def _sides(self) -> tuple[Ahead, Ahead]:
        options = self._options
        if options.files is not None:
            files, chosen = options.files, options.selection
            if chosen is not None:
                files = tuple(name for name in files if chosen.takes(name, is_folder=False))
            named = [
                named_blocks(files, self._session, side, self._executor, is_source=number == SOURCE)
                for number, side in enumerate((options.source, options.target))
            ]
            return Ahead(named[SOURCE]), Ahead(named[TARGET])
        if options.source.is_local:
            source: Blocks = local_blocks(options.source, self._executor, options.selection, may_miss=False)
        else:
            paths = await self._key_paths() if options.target.is_local else None
            source = BucketReader(
                self._session,
                options.source,
                options.selection,
                paths=paths,
                folder_keys=not options.target.is_local,
                on_folder=self._folders.append,
            ).blocks()
        if options.target.is_local:
            target: Blocks = local_blocks(options.target, self._executor, options.selection, may_miss=True)
        else:
            target = BucketReader(
                self._session, options.target, options.selection, folder_keys=not options.source.is_local
            ).blocks()
        return Ahead(source), Ahead(target)

    async def _key_paths(self) -> KeyPaths | OnePath:
        """Create the target folder, and return how keys become paths in it."""
        if not self._options.dry_run:
            root = self._options.target.root
            await finished(in_thread(self._executor.waiting, make_folders, root, ()))
            if await finished(in_thread(self._executor.waiting, folds_case, root)):
                return KeyPaths(folds_case=True, windows=False)
        return OnePath()

    async def _make_folders(self) -> None:
        """Create the folders that have keys of their own. A folder that exists is no event."""
        folders, self._folders[:] = list(self._folders), []
        if self._options.dry_run:
            return
        root = self._options.target.root
        for key in folders:
            names = key.decode().removesuffix("/").split("/")
            try:
                await finished(in_thread(self._executor.waiting, make_folders, root, names))
            except CosxferError as error:
                self._failed("make folder", key, error)

    async def _take(self, rows: list[Row]) -> None:
        verdict_of = self._options.rules.verdict
        same = 0
        for row in rows:
            verdict = verdict_of(row)
            if verdict is Verdict.SAME:
                same += 1
                continue
            key, source, target = row
            if verdict is Verdict.EXTRA:
                if self._options.delete and target is not None:
                    await self._candidates.add(target)
            elif verdict is Verdict.UNKNOWN:
                known = source if source is not None and source[1] >= 0 else target
                size = known[1] if known is not None else 0
                self._tell("unknown", key, size, "one side could not be read here")
                self._counts["unknown"] += 1
            elif verdict is Verdict.SKIP:
                self._skip(key, source)
            elif verdict is Verdict.TRANSFER and source is not None:
                await self._transfer(source, target)
            elif source is not None and target is not None:
                undecided = self._undecided[verdict]
                undecided.append((key, source, target))
                if len(undecided) >= CHECKED_AT_ONCE:
                    await self._check()
        self._counts["unchanged"] += same

    async def _check(self) -> None:
        """Decide about the keys for which sizes and times are not enough."""
        source, target = self._options.source, self._options.target
        pairs, recalled, newer = (self._undecided[each] for each in (Verdict.CHECK, Verdict.RECALL, Verdict.NEWER))
        self._undecided = {verdict: [] for verdict in self._undecided}
        if newer:
            for pair, same in zip(newer, await self._checksums.known_equal(newer, source, target), strict=True):
                if same:
                    self._counts["unchanged"] += 1
                else:
                    await self._transfer(pair[1], pair[2])
        if recalled:
            known = await self._checksums.known(target, [pair[2] for pair in recalled])
            self._counts["unchanged"] += known.count(False)
            pairs += [pair for pair, is_known in zip(recalled, known, strict=True) if is_known]
        if not pairs:
            return
        equal = await self._checksums.equal(pairs, source, target)
        for (key, entry, replaced), outcome in zip(pairs, equal, strict=True):
            if isinstance(outcome, CosxferError):
                self._failed(self._options.rules.direction, key, outcome, size=entry[1])
            elif outcome:
                self._counts["unchanged"] += 1
            else:
                await self._transfer(entry, replaced)

    # -- transferring -------------------------------------------------------------------------------------------------

    async def _transfer(self, entry: Entry, replaced: Entry | None) -> None:
        """Transfer an entry of the source over what the target has."""
        target = self._options.target
        if not target.is_local:
            try:
                check_key(shown_key(target.object(entry[0]).key))
            except CosxferError as error:  # it must not end the run: a name may give a key that is too long
                self._transferred(entry, error)
                return
        if self._options.dry_run:
            self._transferred(entry, None)
        else:
            await self._mover.add(entry, replaced)

    def _transferred(self, entry: Entry, error: Exception | None) -> None:
        action = self._options.rules.direction
        if self._options.rules.no_overwrite and exists_already(error):
            self._skip(entry[0], entry)
        elif error is not None:
            self._failed(action, entry[0], error, size=entry[1])
        else:
            self._counts["transferred"] += 1
            self._bytes += entry[1]
            self._tell(action, entry[0], entry[1])

    def _skip(self, key: bytes, entry: Entry | None) -> None:
        self._counts["skipped"] += 1
        why = "no_overwrite" if self._options.rules.no_overwrite else "update: the target is newer"
        self._tell("skip", key, 0 if entry is None else entry[1], why)

    # -- deleting -----------------------------------------------------------------------------------------------------

    async def _delete(self) -> None:
        count, options = self._candidates.count, self._options
        if not count:
            return
        if why := self._why_not_to_delete(count):
            self._failed("delete", b"", CosxferError(f"nothing was deleted in {side_name(options.target)}: {why}"))
            return
        async for entries in self._candidates.batches():
            confirmed = await self._remover.confirmed(entries)
            wanted = []
            for entry, outcome in zip(entries, confirmed, strict=True):
                if isinstance(outcome, CosxferError):
                    self._failed("delete", entry[0], outcome, size=entry[1])
                elif outcome:
                    wanted.append(entry)
                else:
                    self._counts["kept"] += 1
                    self._tell(
                        "skip", entry[0], entry[1], "the source has it, although its listing does not show it yet"
                    )
            errors: list[Exception | None] = [None] * len(wanted)
            if not options.dry_run and wanted:
                errors = await self._remover.delete(wanted)
            for entry, error in zip(wanted, errors, strict=True):
                if error is not None:
                    self._failed("delete", entry[0], error, size=entry[1])
                else:
                    self._counts["deleted"] += 1
                    self._tell("delete", entry[0], entry[1])
            await self._events.delivered()

    def _why_not_to_delete(self, count: int) -> str:
        most = self._options.max_delete
        if self._counts["failed"]:
            return f"the run had errors, and {count} keys would be deleted. Repair them, or exclude the keys"
        if most is not None and count > most:
            return f"{count} keys would be deleted, and max_delete allows {most}"
        if most is None and not self._source_seen:
            return (
                f"the source {side_name(self._options.source)} is empty, and all {count} keys of the target would be "
                "deleted. If that is meant, give max_delete"
            )
        return ""

    # -- telling ------------------------------------------------------------------------------------------------------

    def _failed(self, action: SyncAction, key: bytes, error: Exception, *, size: int = 0) -> None:
        self._counts["failed"] += 1
        event = self._event(action, key, size, error=error)
        if len(self._failures) < MAX_FAILURES:
            self._failures.append(event)
        self._events.post(event)

    def _tell(self, action: SyncAction, key: bytes, size: int, reason: str = "") -> None:
        if self._events.wanted:
            self._events.post(self._event(action, key, size, reason=reason))

    def _event(self, action: SyncAction, key: bytes, size: int, **more: Any) -> SyncEvent:
        name = key.decode("utf-8", "surrogateescape")
        return SyncEvent(action=action, key=name, size=size, dry_run=self._options.dry_run, **more)

    def _warn_of_rules(self) -> None:
        selection = self._options.selection
        for text in [] if selection is None else selection.unused:
            logger.warning("the filter %r decided about nothing", text)
