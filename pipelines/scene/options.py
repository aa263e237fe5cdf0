"""Options of the Scene pipeline: what a person may choose, with bounds and one line of explanation each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.base import Options


class FilterOptions(Options):
    """What of a finished prediction goes into the point cloud; can be changed without computing depth again."""

    confidence_percentile: float = Field(
        10.0, ge=0, le=95, title="Confidence cut", description="Drop this percentage of the least certain points"
    )
    point_budget: int = Field(
        1_000_000, ge=1_000, le=10_000_000, title="Points", description="Largest number of points in the cloud"
    )
    voxel: float = Field(
        1.0,
        ge=0,
        le=16,
        title="Thinning",
        description="Size of the cells that hold one point each, in pixels of the depth map; 0 keeps every point",
    )
    include_filled: bool = Field(
        False, title="Filled holes", description="Also use depth that was filled in rather than measured"
    )
    show_cameras: bool = Field(True, title="Cameras", description="Draw the cameras as wire frames in the viewer file")
    camera_size: float = Field(
        1.0, ge=0.1, le=10, title="Camera size", description="Size of the camera frames relative to the automatic one"
    )
    views: tuple[int, ...] = Field(
        (), title="Views", description="Only points of these views, counted from 1, for example 1,3; empty takes all"
    )
    even_colors: bool = Field(
        True, title="Even colours", description="Bring photos of different exposure to one brightness and white balance"
    )
    background: Literal["keep", "drop_black", "drop_white", "drop_both"] = Field(
        "keep", title="Background colour", description="Leave out points that are nearly black or nearly white"
    )


class VideoOptions(Options):
    """Which frames of a video are used."""

    fps: float = Field(
        0.0, ge=0, le=60, title="Frames per second", description="Frames taken a second; 0 picks sharp frames by motion"
    )
    max_frames: int = Field(60, ge=3, le=5000, title="Most frames", description="At most this many frames are used")
    start: float = Field(0.0, ge=0, le=36_000, title="Start", description="Second at which the used part begins")
    end: float = Field(
        0.0, ge=0, le=36_000, title="End", description="Second at which it ends; 0 is the end of the video"
    )


class StereoOptions(Options):
    """A rectified pair: left and right photo with matching rows. Calibration values count in pixels of the photos."""

    rectified: bool = Field(
        False, title="Rectified stereo pair", description="The two photos are left and right view with matching rows"
    )
    focal_px: float = Field(0.0, ge=0, le=1e6, title="Focal length", description="In pixels; 0 is unknown")
    baseline_m: float = Field(
        0.0, ge=0, le=1e4, title="Baseline", description="Distance of the cameras in metres; 0 is unknown"
    )
    doffs: float = Field(
        0.0, ge=-1e5, le=1e5, title="Disparity offset", description="Principal point right minus left, in pixels"
    )
    max_disparity: float = Field(
        0.0, ge=0, le=4096, title="Largest disparity", description="In pixels; 0 estimates it from matches"
    )


class ColmapOptions(Options):
    """A folder with ``images`` and ``sparse``, as COLMAP leaves it."""

    sparse_subdir: str = Field(
        "",
        max_length=100,
        pattern=r"^[\w. -]*(/[\w. -]+)*$",
        title="Which model",
        description="Folder below `sparse` with the model of a COLMAP folder, for example 0; empty takes the first",
    )


class SfmOptions(Options):
    """Structure from motion and plane-sweep stereo."""

    photo_side: int = Field(
        1600, ge=320, le=4096, title="Photo size", description="Longest side in pixels at which photos are matched"
    )
    depth_side: int = Field(
        640, ge=128, le=2048, title="Depth size", description="Longest side in pixels of the depth maps"
    )
    max_features: int = Field(
        6000, ge=500, le=20_000, title="Features", description="Most features per photo used to find the cameras"
    )
    pairing: Literal["auto", "exhaustive", "sequential", "similar"] = Field(
        "auto", title="Pairs", description="Which photos are matched: all, neighbours in time, or those that look alike"
    )
    cameras: Literal["auto", "shared", "per_photo"] = Field(
        "auto",
        title="Intrinsics",
        description="One camera for all photos, one for each, or by photo size and EXIF data",
    )
    mapper: Literal["incremental", "global"] = Field(
        "incremental", title="Mapper", description="How cameras are solved; global is faster for hundreds of photos"
    )
    focal_px: float = Field(
        0.0, ge=0, le=1e6, title="Focal length", description="Known focal length in pixels of the photos; 0 is unknown"
    )
    source_views: int = Field(
        4, ge=1, le=8, title="Source views", description="How many other views each depth map is computed from"
    )
    planes: int = Field(
        0, ge=0, le=512, title="Depth steps", description="Number of depths tried for each pixel; 0 chooses it"
    )
    fill_holes: bool = Field(
        True, title="Fill holes", description="Close gaps inside surfaces; such pixels are marked and weigh little"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Makes the random choices repeatable")


# In the order in which ``auto`` prefers them; the last two look at each photo by itself.
DA3_VARIANTS = (
    "da3nested-giant-large",
    "da3-giant",
    "da3-large",
    "da3-base",
    "da3-small",
    "da3metric-large",
    "da3mono-large",
)
Precision = Literal["auto", "float32", "half"]
Da3Export = Literal["mini_npz", "npz", "depth_vis", "feat_vis", "colmap", "gs_ply", "gs_video"]


class Da3Options(Options):
    """Depth Anything 3: learned depth and cameras."""

    variant: Literal[
        "auto",
        "da3-small",
        "da3-base",
        "da3-large",
        "da3-giant",
        "da3metric-large",
        "da3mono-large",
        "da3nested-giant-large",
    ] = Field("auto", title="Model", description="Which checkpoint; auto takes the most capable one installed")
    process_res: int = Field(
        504, ge=56, le=2016, title="Resolution", description="Side in pixels at which the network sees the photos"
    )
    process_res_method: Literal["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"] = (
        Field(
            "upper_bound_resize",
            title="Resolution counts",
            description="The longer side (upper bound) or the shorter one; made to fit by scaling or by cropping",
        )
    )
    use_ray_pose: bool = Field(
        False, title="Cameras from rays", description="Slower and more exact cameras, solved from the network's rays"
    )
    ref_view_strategy: Literal["saddle_balanced", "saddle_sim_range", "first", "middle"] = Field(
        "saddle_balanced", title="Reference view", description="How the photo is chosen that all others refer to"
    )
    known_cameras: bool = Field(
        True, title="Use known cameras", description="Give the cameras of a COLMAP folder to the network"
    )
    align_to_input_ext_scale: bool = Field(
        True, title="Keep given scale", description="Bring depth to the scale of known cameras, not the reverse"
    )
    sky: Literal["drop", "keep"] = Field(
        "drop", title="Sky", description="Leave the sky out, or keep it far away; for models that know the sky"
    )
    fov_degrees: float = Field(
        60.0,
        ge=5,
        le=150,
        title="Field of view",
        description="Assumed horizontal angle of photos without EXIF data, for models that give no cameras",
    )
    first_to_last_m: float = Field(
        0.0,
        ge=0,
        le=1e5,
        title="First to last camera",
        description="Known distance in metres between the first and the last photo's place; 0 is unknown",
    )
    precision: Precision = Field(
        "auto",
        title="Precision",
        description="Half where the device gains from it, always full, or always half: depth about 1 % off, faster on "
        "processors with bfloat16 products",
    )
    chunk: int = Field(
        0,
        ge=0,
        le=512,
        title="Chunk",
        description="Photos per part of a long scene; parts are joined by overlap; 0 splits only what is long",
    )
    overlap: int = Field(0, ge=0, le=256, title="Overlap", description="Photos shared by two parts; 0 is half a part")
    loop_closing: bool = Field(
        True, title="Close loops", description="Look for places seen again in a long scene and join them"
    )
    export_feat: tuple[int, ...] = Field(
        (), title="Feature layers", description="Blocks of the network whose features are exported, for example 5,11"
    )
    infer_gs: bool = Field(
        False, title="Gaussian splats", description="Also make 3D Gaussian splats (giant and nested models)"
    )
    gs_trajectory: Literal[
        "extend", "original", "smooth", "interpolate", "interpolate_smooth", "wander", "dolly_zoom", "wobble_inter"
    ] = Field("extend", title="Splat video path", description="How the camera of the splat video moves")
    gs_video_quality: Literal["low", "medium", "high"] = Field(
        "high", title="Splat video quality", description="Compression of the splat video"
    )
    exports: tuple[Da3Export, ...] = Field(
        (), title="Further files", description="Result files as the original tool writes them"
    )
    feat_vis_fps: float = Field(
        15.0, ge=1, le=60, title="Feature video speed", description="Pictures a second of the feature video"
    )


class SceneOptions(Options):
    """Everything one can choose for a scene."""

    engine: Literal["auto", "da3", "sfm"] = Field(
        "auto", title="Engine", description="How depth and cameras are computed; auto takes the best one installed"
    )
    filter: FilterOptions = Field(FilterOptions(), title="Point cloud", description="What goes into the point cloud")
    video: VideoOptions = Field(VideoOptions(), title="Video", description="Which frames of a video are used")
    stereo: StereoOptions = Field(StereoOptions(), title="Stereo pair", description="A rectified pair of photos")
    colmap: ColmapOptions = Field(ColmapOptions(), title="COLMAP folder", description="Known cameras of the photos")
    sfm: SfmOptions = Field(SfmOptions(), title="Engine sfm", description="Structure from motion with dense stereo")
    da3: Da3Options = Field(Da3Options(), title="Engine da3", description="Depth Anything 3: learned depth and cameras")
