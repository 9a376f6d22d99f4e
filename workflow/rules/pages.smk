localrules:
    pages,


rule pages:
    input:
        TARGETS,
        stated=watched(RUN.stated_in),
    output:
        PAGES,
        OTHER_FILES,
        [report(str(file), **marks) for file, marks in RUN.report_entries],
        touch(COMPLETE),
    log:
        f"results/logs/{RUN.name}/pages.log",
    conda:
        CONDA
    params:
        seeds=CONFIG.seeds,
        titles=lambda wildcards: sorted(
            {
                CONFIG.title,
                *(CONFIG.task(each.task).title + CONFIG.recipe(each.recipe).title for each in CHAINS),
            }
        ),
        papers=[f"{paper}/{item}" for paper, item in RUN.selected],
    message:
        "rendering tables, figures and the page"
    shell:
        nmtprune(f"render {PAGE_SETTINGS}")


# If a job fails, the page is still rendered from the results there are, with the reason for every empty cell.
# Such a page, like one that is rendered by hand, lacks the mark of a complete page, so that the next run
# still makes what is missing.
onerror:
    if PAGES:
        Path(COMPLETE).unlink(missing_ok=True)
        shell(f"python -m nmtprune render {PAGE_SETTINGS} {SETTINGS} > /dev/null 2>&1 || true")
