//! `labelstream train`: the files of `prepare` to a checkpoint.

mod display;
mod replicas;
mod summary;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use trainer::report::Report;
use trainer::tensorboard::EventFile;
use trainer::{
    Base, ClassNames, Dataset, Distillation, Pretrained, Replica, Settings, Teacher, Trained, TrainingFlags,
    class_names, warnings,
};

use crate::dataset_flags::ColumnFlags;
use crate::print;
use display::Display;
use replicas::ReplicaFlags;

/// Flags of `labelstream train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Directory with train_data.csv and valid_data.csv, as `prepare` writes it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Checkpoint directory to fine-tune from: a classifier, or an encoder such as
    /// bert-base-chinese, which gets a new head. `new` learns from the labels alone: a linear model
    /// of n-grams, or a small BERT (4 layers of 256) where that is clearly better; `new-linear` and
    /// `new-bert` name one of the two. Most flags below are for BERTs.
    #[arg(long, default_value = "new")]
    base: Base,

    /// Directory of a pretrained encoder in the HuggingFace layout, such as bge-small-zh, for
    /// `--base new`: with few labels a linear model learns from it and from --unlabeled; from 2000
    /// training texts on it is fine-tuned too; the better one is taken
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,

    /// Directory of a finished classifier of the same classes, of any kind, to learn from what it
    /// says of the training texts and of --unlabeled: with `--base` new-bert, new-linear or a
    /// directory, such as a small encoder's
    #[arg(long, value_name = "DIR", conflicts_with = "encoder")]
    teacher: Option<PathBuf>,

    /// What the logits of teacher and student are divided by before they are compared: the greater,
    /// the more counts what the teacher finds improbable (of no effect on a linear model) [default:
    /// 2]
    #[arg(long, requires = "teacher")]
    temperature: Option<f64>,

    /// What the teacher counts where a text has a label too; the label counts the rest (of no
    /// effect on a linear model) [default: 0.5]
    #[arg(long, value_name = "SHARE", requires = "teacher")]
    teacher_share: Option<f64>,

    /// File of texts without labels, as many as there are (20000 are read at most); of a column of
    /// labels in it nothing is read
    #[arg(long, value_name = "FILE")]
    unlabeled: Option<PathBuf>,

    /// Tune the encoder on the labels first, by pairs of texts, which takes a minute or two; taken
    /// if it is no worse on the validation texts
    #[arg(long, requires = "encoder")]
    tune: bool,

    /// Directory for the best checkpoint; must not exist; the last few are kept in
    /// DIR.checkpoints/step-N
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Names of the classes, in order: `--classes bad,good` for the labels 0 and 1; a name with a
    /// comma stands in quotes, as in a CSV [default: the labels, numbers in numeric order, names
    /// sorted]
    #[arg(long, alias = "labels", value_parser = class_names)]
    classes: Option<Vec<ClassNames>>,

    #[command(flatten)]
    training: TrainingFlags,

    /// Directory for the state of the run: start a run that was killed again with the same
    /// hyper-parameters, and it goes on from there
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Steps between two writings of the state [default: after each evaluation]
    #[arg(long, value_name = "STEPS", requires = "state")]
    save_steps: Option<usize>,

    /// Checkpoints of the run to keep beside the best [default: 2]
    #[arg(long)]
    save_limit: Option<usize>,

    /// Directory for an event file that TensorBoard opens: loss, learning rate, and every metric of
    /// the validation texts
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,

    /// File for a page with the loss curve and the confusion matrix: HTML, or SVG if the name ends
    /// in .svg
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    replicas: ReplicaFlags,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut settings = settings(&arguments);
    settings.check()?;
    let classes = arguments.classes.as_deref().map(<[_]>::concat);
    let dataset = Dataset::open(&arguments.data, &arguments.columns.columns(), classes.as_deref())?;
    let dataset = taught(&arguments, dataset)?;
    let (replica, copies) = arguments.replicas.start()?;
    let pretrained = pretrained(&arguments)?;
    let is_network = matches!(arguments.base, Base::NewBert | Base::Checkpoint(_));
    ensure!(is_network || replica.is_none(), "base {} is not trained by several processes", arguments.base);
    settings.options.replica = replica;
    if let Some(Replica { rank: 1.., .. }) = settings.options.replica {
        return trainer::follow(&settings, &dataset, &arguments.base);
    }
    let mut warnings = warnings::of_dataset(&dataset);
    print::warnings(&warnings);
    let trained = train(&arguments, &settings, &dataset, pretrained.as_ref())?;
    copies.finish()?;
    print::warnings(&trained.warnings());
    warnings.extend(trained.warnings());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&print::with_warnings(&trained, &warnings)?)?);
    } else {
        summary::print(&trained);
    }
    Ok(())
}

/// The data with what a teacher says of them, if there is one.
fn taught(arguments: &Arguments, dataset: Dataset) -> Result<Dataset> {
    let Some(directory) = arguments.teacher.clone() else {
        let is_used = arguments.unlabeled.is_none() || arguments.encoder.is_some();
        ensure!(is_used, "--unlabeled goes with --encoder or --teacher: something must say what the texts are");
        return Ok(dataset);
    };
    ensure!(
        arguments.base != Base::New,
        "--teacher teaches one student: name it by --base new-bert, new-linear, or a directory"
    );
    let device = arguments.training.device.open()?;
    Teacher { directory, unlabeled: unlabeled(arguments)? }.teach(dataset, &device)
}

fn unlabeled(arguments: &Arguments) -> Result<Vec<String>> {
    let columns = arguments.columns.columns();
    let read = |file: &PathBuf| trainer::labeled_rows::read_texts(file, &columns);
    Ok(arguments.unlabeled.as_ref().map(read).transpose()?.unwrap_or_default())
}

/// What helps where labels are few, if there is any of it.
fn pretrained(arguments: &Arguments) -> Result<Option<Pretrained>> {
    let Some(encoder) = arguments.encoder.clone() else { return Ok(None) };
    ensure!(arguments.base == Base::New, "--encoder goes with --base new; to fine-tune it alone, give it as --base");
    let unlabeled = unlabeled(arguments)?;
    Ok(Some(Pretrained { encoder, unlabeled, tunes: arguments.tune, cache: Some(service::directories::embeddings()?) }))
}

fn train(
    arguments: &Arguments,
    settings: &Settings,
    dataset: &Dataset,
    pretrained: Option<&Pretrained>,
) -> Result<Trained> {
    let base = &arguments.base;
    let mut display = Display::new(settings, base);
    let mut events = arguments.tensorboard.as_deref().map(EventFile::create).transpose()?;
    let mut report = Report::default();
    let trained = trainer::train(settings, dataset, base, pretrained, &arguments.out, &mut |progress| {
        display.show(progress);
        report.record(progress);
        events.as_mut().map_or(Ok(()), |events| events.record(progress))
    })?;
    if let Some(file) = &arguments.report {
        report.write(file, &arguments.out.display().to_string(), trained.evaluation())?;
    }
    Ok(trained)
}

fn settings(arguments: &Arguments) -> Settings {
    let mut settings = arguments.training.settings_with(&arguments.base, arguments.encoder.as_deref());
    let usual = Distillation::default();
    settings.hyperparameters.distillation = arguments.teacher.is_some().then(|| Distillation {
        temperature: arguments.temperature.unwrap_or(usual.temperature),
        share: arguments.teacher_share.unwrap_or(usual.share),
    });
    let options = &mut settings.options;
    options.threads = trainer::copies::threads_of_each(options.threads, arguments.replicas.processes());
    options.state = arguments.state.clone();
    options.save_steps = arguments.save_steps;
    options.save_limit = arguments.save_limit.unwrap_or(options.save_limit);
    settings
}
