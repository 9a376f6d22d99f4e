localrules:
    pages,


rule pages:
    input:
        READ,
        stated=STATED,
    output:
        PAGES,
        OTHER_FILES,
        [report(str(file), **marks) for file, marks in RENDERED],
    log:
        f"results/logs/{CONFIG.settings['preset']}/pages.log",
    benchmark:
        f"results/benchmarks/{CONFIG.settings['preset']}/pages.tsv"
    conda:
        CONDA
    params:
        seeds=CONFIG.seeds,
        titles=sorted({CONFIG.preset["title"], *(CONFIG.task(each.task)["title"] + CONFIG.recipe(each.recipe)["title"] for each in CHAINS)}),
        papers=[f"{paper}/{item}" for paper, item in papers.selected(CONFIG)],
    message:
        "rendering tables, figures and the page"
    shell:
        nmtprune(f"render {PAGE_SETTINGS}")


# One failed training does not take the page with it: what is there is shown, with the reason for every empty cell. Such a page is
# dated before everything that it reads: otherwise the same command would take it for done and leave what is missing.
onerror:
    if PAGES:
        shell(f"python -m nmtprune render {PAGE_SETTINGS} {SETTINGS} > /dev/null 2>&1 || true")
        for page in filter(os.path.exists, PAGES):
            os.utime(page, (1, 1))
